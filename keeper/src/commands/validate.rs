//! `rbee validate`

use std::path::Path;

use pool_core::units::count;
use reconciler::resolve::{Known, resolve};
use serde_json::json;

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::lock_file::LockFile;
use crate::terminal::Terminal;

pub fn run(global: &Global, terminal: Terminal) -> Result<Exit, Failure> {
    let (file, warnings) = check(global.file.as_deref())?;
    let fleet = &file.fleet;
    let parts = [
        count(fleet.pools.len(), "pool"),
        count(fleet.models.len(), "model"),
        count(fleet.workers.len(), "worker"),
        count(fleet.checks.len(), "check"),
    ];
    let value = json!({
        "version": 1, "valid": true, "file": file.path, "warnings": warnings,
    });
    let text = || {
        let said = warnings.iter().map(|text| {
            format!(
                "warning: {text}
"
            )
        });
        let (path, parts) = (file.path.display(), parts.join(", "));
        said.collect::<String>()
            + &format!(
                "{path} is valid: {parts}
"
            )
    };
    super::result(global, terminal, "validate", Exit::DONE, &value, text)?;
    Ok(Exit::DONE)
}

/// Reads the file, its lock and the models' folders; asks nobody. Returns what to mind, too.
pub(super) fn check(file: Option<&Path>) -> Result<(FleetFile, Vec<String>), Failure> {
    let file = FleetFile::load(file)?;
    let known = Known {
        contents: file.contents(&LockFile::beside(&file.path)?.lock)?,
        configs: file.configs()?,
        ..Known::default()
    };
    let desired = resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))?;
    Ok((file, desired.warnings))
}
