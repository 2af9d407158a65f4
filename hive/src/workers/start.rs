//! Starting the process of a record.

use std::net::SocketAddr;

use pool_core::worker::{WorkerRecord, WorkerState};

use super::record;
use crate::Hive;
use crate::error::Result;
use crate::home::Locked;

/// Starts the process of a record on an address and writes both down.
///
/// The record is on disk before the process exists. Killed between the two writes, the hive leaves
/// a process that [`record::process_of`] finds by its command line.
pub fn start(
    hive: &Hive,
    home: &Locked,
    record: &mut WorkerRecord,
    listen: SocketAddr,
) -> Result<()> {
    record.listen = listen;
    record.process = None;
    record.state = WorkerState::Starting;
    record::save(home, record)?;

    let started = record::service_of(home, record).start(hive, home);
    match &started {
        Ok(process) => record.process.clone_from(process),
        Err(error) => {
            record.state = WorkerState::Failed;
            record.failure = Some(error.message.clone());
        }
    }
    record::save(home, record)?;
    started.map(|_| ())
}
