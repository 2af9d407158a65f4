//! What a start finds, and the process that it begins where it finds none.

use std::path::PathBuf;

use jiff::Timestamp;
use pool_core::build::ORCHESTRATOR;
use pool_core::orchestrator::{OrchestratorRecord, OrchestratorSpec};
use pool_core::rpc::ErrorCode;
use pool_core::worker::{ProcessIdentity, WorkerState};

use super::record;
use crate::error::{Result, fail};
use crate::home::Locked;
use crate::services::{self, supervise};
use crate::workers::is_free;
use crate::{Hive, file, links};

/// Who is in the place of a spec.
#[derive(Debug)]
pub enum Place {
    Empty,
    /// One that is as it should be.
    Taken(OrchestratorRecord),
    /// One that has to go first, with its process.
    Another(OrchestratorRecord, ProcessIdentity),
}

/// Looks who is there, and forgets one that is gone. One that was ready and does not answer now has to go.
pub fn look(hive: &Hive, home: &Locked, spec: &OrchestratorSpec, answers: bool) -> Result<Place> {
    let Some(mut found) = record::load(home, &spec.fleet)? else {
        return Ok(Place::Empty);
    };
    let Some(process) = record::process_of(home, &found) else {
        record::remove(home, &found)?;
        return Ok(Place::Empty);
    };
    let is_usable = match found.state {
        WorkerState::Starting => true,
        state => state == WorkerState::Ready && answers,
    };
    let is_own = services::program(hive, ORCHESTRATOR)?.as_os_str() == found.program.as_str();
    if !is_usable || !is_own || found.spec_hash != spec.hash() {
        return Ok(Place::Another(found, process));
    }
    if found.process.as_ref() != Some(&process) {
        found.process = Some(process);
        record::save(home, &found)?;
    }
    Ok(Place::Taken(found))
}

/// Whether the pool has the program and the supervisor, and nobody but `old` has the address.
pub fn check(
    hive: &Hive,
    home: &Locked,
    spec: &OrchestratorSpec,
    old: Option<&OrchestratorRecord>,
) -> Result<PathBuf> {
    let program = services::program(hive, ORCHESTRATOR)?;
    supervise::check(spec.supervise)?;
    for other in record::all(home)? {
        let is_other = other.spec.fleet != spec.fleet && other.spec.is_in_the_way_of(spec);
        if is_other && record::process_of(home, &other).is_some() {
            return Err(fail(
                ErrorCode::InUse,
                format!(
                    "{} is taken by the orchestrator of the fleet {}",
                    spec.listen, other.spec.fleet
                ),
                "give `orchestrator.listen` another port",
            ));
        }
    }
    let is_replaced = old.is_some_and(|old| old.spec.is_in_the_way_of(spec));
    if !is_replaced && !is_free(spec.listen)? {
        return Err(fail(
            ErrorCode::InUse,
            format!("{} is taken by another program", spec.listen),
            "give `orchestrator.listen` another port; `ss -ltnp` on the pool names the program",
        ));
    }
    Ok(program)
}

/// Starts a process and writes it down. The record is there before the process.
pub fn begin(
    hive: &Hive,
    home: &Locked,
    spec: OrchestratorSpec,
    program: String,
) -> Result<OrchestratorRecord> {
    links::ensure(home, &spec.fleet)?;
    file::make_private(&home.store(&spec.fleet))?;
    let mut begun = OrchestratorRecord {
        version: OrchestratorRecord::VERSION,
        spec_hash: spec.hash(),
        process: None,
        started_at: Timestamp::now(),
        state: WorkerState::Starting,
        log: home.orchestrator_log(&spec.fleet).display().to_string(),
        program,
        failure: None,
        spec,
    };
    record::save(home, &begun)?;
    let started = record::service_of(home, &begun).start(hive, home);
    match &started {
        Ok(process) => begun.process.clone_from(process),
        Err(error) => {
            begun.state = WorkerState::Failed;
            begun.failure = Some(error.message.clone());
        }
    }
    record::save(home, &begun)?;
    started.map(|_| begun)
}
