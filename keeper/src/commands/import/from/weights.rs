//! A GGUF file of another program: whether workers can serve it, and how fleet.yaml names it.

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use pool_core::gguf::ARCHITECTURES;
use pool_core::model::{ModelFacts, needed_file};
use pool_core::name::ModelId;
use pool_core::path::FilePath;
use serde::Serialize;

use crate::failure::Failure;

/// Where links to files lie that have no name of a GGUF file, beside fleet.yaml.
const LINKS: &str = "models";

fn is_named_gguf(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "gguf")
}

/// What the head of the file says; the weights are not read.
pub fn check(path: &Path) -> Result<ModelFacts, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let name = path.file_name().and_then(|name| name.to_str());
    if is_named_gguf(path)
        && let Some(name) = name.and_then(|name| name.parse::<FilePath>().ok())
    {
        let alone = std::slice::from_ref(&name);
        needed_file(alone, &name).map_err(|why| why.to_string())?;
    }
    let file = pool_core::folder::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let facts = ModelFacts::from_gguf(path, size, file).map_err(|error| error.to_string())?;
    let architecture = &facts.architecture;
    if !ARCHITECTURES.contains(&architecture.as_str()) {
        let served = ARCHITECTURES.join(", ");
        return Err(format!(
            "its architecture is {architecture}, and workers serve {served}"
        ));
    }
    if facts.shape.is_none() {
        let kind = facts.quantization.as_deref().unwrap_or("unknown");
        return Err(format!(
            "workers cannot read its weights, of kind {kind}, or its head lacks what they need"
        ));
    }
    Ok(facts)
}

/// A symbolic link beside fleet.yaml: a source is named as a GGUF file is.
#[derive(Debug, Serialize)]
pub struct Link {
    pub at: PathBuf,
    pub to: PathBuf,
}

/// The file as a source, relative to the folder of fleet.yaml where it lies there, and the link that it takes.
pub fn source(
    path: &Path,
    folder: &Path,
    model: &ModelId,
) -> Result<(String, Option<Link>), String> {
    let failed = |error: std::io::Error| format!("cannot find {}: {error}", path.display());
    let to = std::path::absolute(path).map_err(failed)?;
    if is_named_gguf(path) {
        let (Some(parent), Some(name)) = (to.parent(), to.file_name()) else {
            return Err(format!("{} is no file", path.display()));
        };
        let to = parent.canonicalize().map_err(failed)?.join(name);
        let beside = Path::new(".").join(folder).canonicalize();
        let beside = beside.ok().and_then(|beside| to.strip_prefix(beside).ok());
        let source = match beside {
            Some(path) => Path::new(".").join(path),
            None => to.clone(),
        };
        let text = source.to_str().map(str::to_owned);
        let text = text.ok_or_else(|| format!("{} is not UTF-8 text", source.display()))?;
        return Ok((text, None));
    }
    let name = format!("{LINKS}/{model}.gguf");
    let at = folder.join(&name);
    if at.symlink_metadata().is_ok() && !leads(&at, &to) && !is_lost(&at) {
        return Err(format!("there is another file already: {}", at.display()));
    }
    Ok((format!("./{name}"), Some(Link { at, to })))
}

fn leads(at: &Path, to: &Path) -> bool {
    std::fs::read_link(at).is_ok_and(|there| there == to)
}

/// Whether it is a link to a blob that is there no more: another program takes away what none of its models has.
fn is_lost(at: &Path) -> bool {
    let is_of_blob = std::fs::read_link(at).is_ok_and(|to| {
        let name = to.file_name().and_then(OsStr::to_str);
        name.is_some_and(|name| name.starts_with("sha256-"))
    });
    is_of_blob && matches!(at.try_exists(), Ok(false))
}

impl Link {
    /// Whether it takes the place of one that has lost its file.
    pub fn mends(&self) -> bool {
        is_lost(&self.at)
    }

    pub fn make(&self) -> Result<(), Failure> {
        if leads(&self.at, &self.to) {
            return Ok(());
        }
        let folder = self.at.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)
            .and_then(|()| self.put(folder))
            .map_err(|error| {
                Failure::new(format!("cannot make a link: {error}"))
                    .at(self.at.display().to_string())
                    .help("fleet.yaml is as it was")
            })
    }

    fn put(&self, folder: &Path) -> std::io::Result<()> {
        if !self.mends() {
            return symlink(&self.to, &self.at);
        }
        let mut link = tempfile::Builder::new();
        let link = link.prefix(".link");
        let link = link.make_in(folder, |at| symlink(&self.to, at))?;
        Ok(link.into_temp_path().persist(&self.at)?)
    }
}
