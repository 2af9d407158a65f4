//! Stopping a worker.

use std::time::Duration;

use pool_core::name::{FleetName, WorkerId};
use pool_core::rpc::ErrorCode;
use pool_core::worker::{WorkerRecord, WorkerState};
use tokio::task::block_in_place;

use super::{owner, record};
use crate::error::Result;
use crate::expect::Expect;
use crate::{Hive, models, services, tidy};

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
            match record::save(&home, &record) {
                // A stop may be what makes room again: whoever looks meanwhile sees the worker as it was.
                Err(error) if error.code == ErrorCode::DiskFull => {}
                saved => saved?,
            }
        }
        Ok((record, process))
    })?;
    block_in_place(|| record::service_of(&hive.home, &record).release(&hive.home))?;
    if let Some(process) = process {
        services::end(&process, options.patience).await?;
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
