//! `orchestrators/<fleet>.json`: one orchestrator, from the moment before its process is started.

use pool_core::launch::OrchestratorLaunch;
use pool_core::name::FleetName;
use pool_core::orchestrator::{ConfigFile, OrchestratorRecord};
use pool_core::rpc::ErrorCode;
use pool_core::worker::{ProcessIdentity, WorkerState};

use crate::error::{Result, fail};
use crate::file::{self, misnamed, read_json, write_json};
use crate::home::{Home, Locked};
use crate::services::Service;

/// All records, by fleet.
pub fn all(home: &Home) -> Result<Vec<OrchestratorRecord>> {
    let mut records = Vec::new();
    for fleet in file::names(&home.orchestrators())? {
        records.extend(load(home, &fleet)?);
    }
    records.sort_by(|a, b| a.spec.fleet.cmp(&b.spec.fleet));
    Ok(records)
}

/// The record of a fleet's; none where the pool has none.
pub fn load(home: &Home, fleet: &FleetName) -> Result<Option<OrchestratorRecord>> {
    let path = home.orchestrator(fleet);
    let record: Option<OrchestratorRecord> = read_json(&path, OrchestratorRecord::VERSION)?;
    match record {
        Some(record) if record.spec.fleet != *fleet => {
            Err(misnamed(&path, record.spec.fleet.as_str()))
        }
        record => Ok(record),
    }
}

/// The record of a fleet's that has to be there.
pub fn get(home: &Home, fleet: &FleetName) -> Result<OrchestratorRecord> {
    load(home, fleet)?.ok_or_else(|| {
        fail(
            ErrorCode::NotFound,
            format!("there is no orchestrator of the fleet {fleet} here"),
            "`rbee-hive orchestrator status` shows those that there are",
        )
    })
}

pub fn save(home: &Locked, record: &OrchestratorRecord) -> Result<()> {
    write_json(&home.orchestrator(&record.spec.fleet), record)
}

/// Forgets one that is gone, and has its supervisor forget it.
pub fn remove(home: &Locked, record: &OrchestratorRecord) -> Result<()> {
    service_of(home, record).forget(home)?;
    file::remove(&home.orchestrator(&record.spec.fleet))
}

/// Its process while it lives.
pub fn process_of(home: &Home, record: &OrchestratorRecord) -> Option<ProcessIdentity> {
    let is_starting = record.state == WorkerState::Starting;
    service_of(home, record).process(record.process.as_ref(), is_starting)
}

/// How its process is started and looked after.
pub fn service_of(home: &Home, record: &OrchestratorRecord) -> Service {
    let spec = &record.spec;
    let file = |file| {
        let is_given = spec.files.contains(&file);
        is_given.then(|| home.config(&spec.fleet, file))
    };
    let launch = OrchestratorLaunch {
        fleet: spec.fleet.clone(),
        listen: spec.listen,
        home: home.store(&spec.fleet),
        link_file: home.link(&spec.fleet),
        settings: spec.settings,
        tenants: file(ConfigFile::Tenants),
        policy: file(ConfigFile::Policy),
    };
    Service {
        name: format!("orchestrator-{}", spec.fleet),
        title: format!("orchestrator of {}", spec.fleet),
        program: record.program.clone(),
        arguments: launch.to_argv(),
        log: home.orchestrator_log(&spec.fleet),
        supervise: spec.supervise,
    }
}
