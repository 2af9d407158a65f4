//! Starting the process of a record.

use std::net::SocketAddr;
use std::path::PathBuf;

use pool_core::rpc::ErrorCode;
use pool_core::worker::{ProcessIdentity, WorkerRecord, WorkerState};

use super::{detach, log, record, supervise};
use crate::error::{Result, fail, io_error};
use crate::home::Locked;
use crate::{Hive, process};

/// The worker's program: beside the hive, in the folder where the hive really lies, so that an
/// upgrade never takes it from under a worker.
pub fn program(hive: &Hive) -> Result<PathBuf> {
    let program = hive.exe.with_file_name("llm-worker-rbee");
    if program.is_file() {
        return Ok(program);
    }
    Err(fail(
        ErrorCode::NotFound,
        format!("there is no {}", program.display()),
        "the worker's program has to lie beside rbee-hive; `rbee apply` brings both",
    ))
}

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

    let started = if record.spec.supervise.is_none() {
        detached(hive, home, record)
    } else {
        // The file is the user's alone before the supervisor opens it.
        log::open(&home.log(&record.id)).and_then(|_| supervise::start(home, record))
    };
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

/// Starts a process that nobody looks after. None where it ended at once.
fn detached(hive: &Hive, home: &Locked, record: &WorkerRecord) -> Result<Option<ProcessIdentity>> {
    let log = log::open(&home.log(&record.id))?;
    let arguments = record::launch_of(home, record).to_argv();
    let spawn = || {
        let command = detach::command(&hive.exe, record.program.as_ref(), &arguments, log)?;
        let mut command = tokio::process::Command::from(command);
        command.current_dir(home.root()).spawn()
    };
    // Not killed when dropped; tokio reaps it, should it end while this hive still runs.
    let child = spawn().map_err(|e| io_error("start", record.program.as_ref(), &e))?;
    Ok(child.id().and_then(process::identify))
}
