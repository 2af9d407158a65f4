//! Stopping an orchestrator.

use std::io;

use pool_core::name::FleetName;
use pool_core::orchestrator::OrchestratorRecord;
use pool_core::worker::WorkerState;
use tokio::task::block_in_place;

use super::{PATIENCE, record};
use crate::error::{Result, io_error};
use crate::expect::Expect;
use crate::{Hive, services, tidy};

/// Stops the orchestrator of a fleet once its running streams have ended, and forgets it; its log stays. What it stores
/// stays too, unless it is to go `with_tasks`.
///
/// A process that is not the recorded one is never signalled: then only the record goes.
pub async fn stop(
    hive: &Hive,
    fleet: &FleetName,
    expect: &Expect,
    with_tasks: bool,
) -> Result<OrchestratorRecord> {
    let (stopped, process) = block_in_place(|| {
        let home = hive.home.lock()?;
        expect.check(&home)?;
        let mut found = record::get(&home, fleet)?;
        let process = record::process_of(&home, &found);
        if process.is_some() {
            found.process.clone_from(&process);
            found.state = WorkerState::Draining;
            record::save(&home, &found)?;
        }
        Ok((found, process))
    })?;
    block_in_place(|| record::service_of(&hive.home, &stopped).release(&hive.home))?;
    if let Some(process) = process {
        services::end(&process, PATIENCE).await?;
    }
    block_in_place(|| {
        let home = hive.home.lock()?;
        if with_tasks {
            let store = home.store(fleet);
            match std::fs::remove_dir_all(&store) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("remove", &store, &e));
                }
                _ => {}
            }
        }
        record::remove(&home, &stopped)?;
        tidy(hive, &home);
        Ok(())
    })?;
    Ok(OrchestratorRecord {
        state: WorkerState::Stopped,
        ..stopped
    })
}
