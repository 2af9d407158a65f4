//! Ending a process: asked first, then made to.

use std::time::Duration;

use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::worker::ProcessIdentity;
use tokio::time::{Instant, sleep};

use crate::error::{Result, fail};
use crate::process::{self, Signal};

/// Between two looks at a process that is ending.
const INTERVAL: Duration = Duration::from_millis(10);

/// Ends exactly this process: SIGTERM, patience, SIGKILL. Returns once it is gone.
pub async fn end(process: &ProcessIdentity, patience: Duration) -> Result<()> {
    let last_word = Duration::from_secs(5);
    for (signal, patience) in [(Signal::TERM, patience), (Signal::KILL, last_word)] {
        let sent = process::signal(process, signal).map_err(|e| HiveError {
            code: ErrorCode::Io,
            message: format!("cannot signal the process {}: {e}", process.pid),
            help: None,
        })?;
        let deadline = Instant::now() + patience;
        while sent && process::is_alive(process) && Instant::now() < deadline {
            sleep(INTERVAL).await;
        }
        if !process::is_alive(process) {
            return Ok(());
        }
    }
    Err(fail(
        ErrorCode::Io,
        format!("the process {} does not end, not even killed", process.pid),
        "it hangs in the system: look at `dmesg`; a reboot of the pool ends it",
    ))
}
