//! What a service printed, and goes on to print.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::print_bytes;
use crate::error::{Result, io_error};
use crate::process::is_unread;
use crate::services::log::Follow;

/// Prints a log until its service is gone.
pub async fn print(path: &Path, is_gone: impl Fn() -> bool + Send + Sync + 'static) -> Result<()> {
    let mut log = Follow::open(path, Box::new(is_gone))?;
    let parent = rustix::process::getppid();
    while let Some(bytes) = log.more().map_err(|e| io_error("read", path, &e))? {
        print_bytes(&bytes)?;
        // Over SSH nothing else tells that the reader has left; on a machine, a pipe that nobody reads does.
        if rustix::process::getppid() != parent || is_unread(&io::stdout()) {
            return Ok(());
        }
        if bytes.is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}
