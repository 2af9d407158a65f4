//! How a program is cut loose from whoever started it.
//!
//! A new session can only be made by the process that is to have it, so the hive starts itself
//! with `launch`, and that process becomes the program.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use pool_core::launch::TOKEN_VARIABLE;
use rustix::process::setsid;

/// The hidden subcommand that [`become_program`] is run by.
pub const LAUNCH: &str = "launch";

/// The command that starts `program` detached: own session, no terminal, no stdin, both outputs
/// appended to the log.
pub fn command(
    hive: &Path,
    program: &Path,
    arguments: &[OsString],
    log: std::fs::File,
) -> io::Result<Command> {
    let mut command = Command::new(hive);
    command
        .arg(LAUNCH)
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    Ok(command)
}

/// Turns this process into the program. Returns only when that fails.
pub fn become_program(program: &OsStr, arguments: &[OsString]) -> io::Error {
    if let Err(error) = setsid() {
        return error.into();
    }
    // A descriptor that somebody left open, such as a lock's or a pipe's, would live as long as
    // the program.
    close_fds::set_fds_cloexec(3, &[]);
    // The hive asks its workers without a token: one that its user's shell holds is not for them.
    Command::new(program)
        .args(arguments)
        .env_remove(TOKEN_VARIABLE)
        .env_remove("HF_TOKEN")
        // CUDA counts the cards as the hive does, whatever the login says: which ones are used, the fleet says.
        .env("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        .env_remove("CUDA_VISIBLE_DEVICES")
        .exec()
}
