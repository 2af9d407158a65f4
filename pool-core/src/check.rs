//! Whether an orchestrator could use a file: its own program says so, before the file is given to one that runs.

use std::io::{self, ErrorKind, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::orchestrator::ConfigFile;

/// Bytes of the largest file that an orchestrator is given.
pub const LARGEST: u64 = 1 << 20;

/// Has `orchestratord` read a file. The inner error is what is wrong with it, a line each.
///
/// # Errors
/// When the program cannot be run.
pub fn check(program: &Path, file: ConfigFile, text: &str) -> io::Result<Result<(), String>> {
    let mut child = Command::new(program)
        .args(["check", file.as_str(), "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        match input.write_all(text.as_bytes()) {
            // Why it does not read on, it says.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(Ok(()));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("error: ");
    Ok(Err(match said {
        "" => format!("`orchestratord check` ended with {}", output.status),
        said => said.to_owned(),
    }))
}
