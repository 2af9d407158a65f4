//! The files of the results: `MODEL_SUPPORT.md`, the JSON beside it that later runs read, and `JUnit`'s XML.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::lock_file;
use crate::report::support::Results;

/// The page of results, and the JSON beside it.
pub struct Kept {
    page: PathBuf,
    json: PathBuf,
}

impl Kept {
    /// `FILE.md` and `FILE.json`.
    pub fn at(page: PathBuf) -> Result<Self, Failure> {
        let json = page.with_extension("json");
        if json == page {
            let what = "--save names the page, and the JSON is written beside it: give a name that ends otherwise";
            return Err(Failure::new(what).exit(Exit::USAGE));
        }
        Ok(Self { page, json })
    }

    /// The results of the last run; none where nobody has kept any.
    pub fn load(&self) -> Result<Option<Results>, Failure> {
        let at = || self.json.display().to_string();
        let text = match std::fs::read(&self.json) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                let what = format!("cannot read the results of the last run: {error}");
                return Err(Failure::new(what).at(at()));
            }
        };
        let broken = |why: String| {
            Failure::new(format!("the results of the last run cannot be read: {why}"))
                .at(at())
                .help("without --stale-only all cells are asked, and the file is written anew")
        };
        let results: Results =
            serde_json::from_slice(&text).map_err(|error| broken(error.to_string()))?;
        if results.version != Results::VERSION {
            return Err(broken(format!("version {} is not known", results.version)));
        }
        Ok(Some(results))
    }

    /// Puts these in the place of what is there.
    pub fn save(&self, results: &Results) -> Result<(), Failure> {
        write(&self.page, &results.page())?;
        write(&self.json, &super::super::json(results)?)
    }
}

/// Writes `JUnit`'s XML.
pub fn junit(path: &Path, results: &Results) -> Result<(), Failure> {
    let xml = results.junit();
    let xml = xml.map_err(|error| Failure::new(format!("cannot write this as XML: {error}")))?;
    write(path, &xml)
}

/// All of it, or what was there stays.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    lock_file::replace(path, text).map_err(|error| {
        let at = path.display().to_string();
        Failure::new(format!("cannot write the results: {error}")).at(at)
    })
}
