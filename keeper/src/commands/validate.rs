//! `rbee validate`

use pool_core::units::count;
use reconciler::problem::Problem;
use reconciler::resolve::{Known, resolve};
use serde_json::{Value, json};

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::lock_file::LockFile;
use crate::terminal::Terminal;

pub fn run(global: &Global, terminal: Terminal) -> Result<Exit, Failure> {
    match check(global) {
        Ok(file) if global.json => {
            let value = json!({ "version": 1, "valid": true, "file": file.path, "problems": [] });
            terminal.data(&super::json(&value)?);
            Ok(Exit::DONE)
        }
        Ok(file) => {
            let fleet = &file.fleet;
            let parts = [
                count(fleet.pools.len(), "pool"),
                count(fleet.models.len(), "model"),
                count(fleet.workers.len(), "worker"),
                count(fleet.checks.len(), "check"),
            ];
            terminal.data(&format!(
                "{} is valid: {}\n",
                file.path.display(),
                parts.join(", ")
            ));
            Ok(Exit::DONE)
        }
        Err(Failure::Problems { file, problems, .. }) if global.json => {
            let problems: Vec<Value> = problems.iter().map(problem).collect();
            let value = json!({ "version": 1, "valid": false, "file": file, "problems": problems });
            terminal.data(&super::json(&value)?);
            Ok(Exit::ERROR)
        }
        Err(failure) => Err(failure),
    }
}

fn check(global: &Global) -> Result<FleetFile, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let known = Known {
        contents: file.contents(&LockFile::beside(&file.path)?.lock)?,
        ..Known::default()
    };
    resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))?;
    Ok(file)
}

fn problem(problem: &Problem) -> Value {
    let Problem {
        line,
        column,
        length,
        message,
        hint,
    } = problem;
    json!({ "line": line, "column": column, "length": length, "message": message, "hint": hint })
}
