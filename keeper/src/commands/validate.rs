//! `rbee validate`

use std::path::Path;

use pool_core::units::count;
use reconciler::resolve::{Known, resolve};
use serde_json::json;

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::{ErrorReport, Failure};
use crate::fleet_file::FleetFile;
use crate::lock_file::LockFile;
use crate::progress::Output;
use crate::terminal::Terminal;

pub fn run(global: &Global, terminal: Terminal) -> Result<Exit, Failure> {
    let say = |file: &Path, report: Option<ErrorReport>, exit, text: String| {
        let valid = report.is_none();
        let problems = report.map(|report| report.problems).unwrap_or_default();
        let value = json!({ "version": 1, "valid": valid, "file": file, "problems": problems });
        super::result(global, terminal, "validate", exit, &value, || text)?;
        Ok(exit)
    };
    match check(global.file.as_deref()) {
        Ok(file) => {
            let fleet = &file.fleet;
            let parts = [
                count(fleet.pools.len(), "pool"),
                count(fleet.models.len(), "model"),
                count(fleet.workers.len(), "worker"),
                count(fleet.checks.len(), "check"),
            ];
            let (path, parts) = (file.path.display(), parts.join(", "));
            let text = format!("{path} is valid: {parts}\n");
            say(&file.path, None, Exit::DONE, text)
        }
        Err(failure) => match &failure {
            Failure::Problems { file, .. } if global.output() != Output::Text => {
                say(file, Some(failure.report()), Exit::ERROR, String::new())
            }
            _ => Err(failure),
        },
    }
}

/// Reads the file, its lock and the models' folders; asks nobody.
pub(super) fn check(file: Option<&Path>) -> Result<FleetFile, Failure> {
    let file = FleetFile::load(file)?;
    let known = Known {
        contents: file.contents(&LockFile::beside(&file.path)?.lock)?,
        ..Known::default()
    };
    resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))?;
    Ok(file)
}
