//! Stopping a worker: asked first, then made to.

use std::time::Duration;

use pool_core::name::{FleetName, WorkerId};
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::worker::{ProcessIdentity, WorkerRecord, WorkerState};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::{owner, record, supervise, tidy};
use crate::error::{Result, fail};
use crate::expect::Expect;
use crate::process::{self, Signal};
use crate::{Hive, models};

/// How a worker is stopped.
#[derive(Debug, Default)]
pub struct StopOptions {
    /// What must still be so when it is begun.
    pub expect: Expect,
    /// The fleet that asks; a person may stop any worker, protected or not.
    pub owner: Option<FleetName>,
    /// Another is spawned in its place.
    pub for_spawn: bool,
    /// How long it may finish what it does.
    pub patience: Duration,
}

/// Between two looks at a process that is ending.
const INTERVAL: Duration = Duration::from_millis(10);

/// Stops a worker and forgets it; its log stays.
///
/// A process that is not the recorded one is never signalled: then only the record goes.
pub async fn stop(hive: &Hive, id: &WorkerId, options: StopOptions) -> Result<WorkerRecord> {
    let (record, process) = block_in_place(|| {
        let home = hive.home.lock()?;
        options.expect.check(&home)?;
        let mut record = record::get(&home, id)?;
        let process = record::process_of(&home, &record);
        if let Some(owner) = &options.owner {
            let is_replaced = options.for_spawn || owner::is_replaced(&home, &record)?;
            owner::check_stop(&record, owner, process.is_some() && !is_replaced)?;
        }
        if process.is_some() {
            record.process.clone_from(&process);
            record.state = WorkerState::Draining;
            record::save(&home, &record)?;
        }
        Ok((record, process))
    })?;
    block_in_place(|| supervise::release(&hive.home, &record))?;
    if let Some(process) = process {
        end(&process, options.patience).await?;
    }
    block_in_place(|| {
        let home = hive.home.lock()?;
        record::remove(&home, &record)?;
        tidy(hive, &home);
        // The worker is gone: what cannot be cleaned up now waits for the next change.
        let _ = models::load(&home).and_then(|catalog| models::sweep(&home, &catalog));
        Ok(())
    })?;
    Ok(WorkerRecord {
        state: WorkerState::Stopped,
        ..record
    })
}

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
