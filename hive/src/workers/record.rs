//! `workers/<id>.json`: one worker process, from the moment before it is started.

use pool_core::launch::WorkerLaunch;
use pool_core::name::WorkerId;
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::worker::{ProcessIdentity, WorkerRecord, WorkerState};

use crate::error::{Result, fail};
use crate::file::{self, misnamed, read_json, write_json};
use crate::home::{Home, Locked};
use crate::services::Service;

/// All records, the oldest first.
pub fn all(home: &Home) -> Result<Vec<WorkerRecord>> {
    let mut records = Vec::new();
    for id in file::names(&home.workers())? {
        records.extend(load(home, &id)?);
    }
    records.sort_by(|a, b| (a.started_at, &a.id).cmp(&(b.started_at, &b.id)));
    Ok(records)
}

/// One record; none where there is no such worker.
pub fn load(home: &Home, id: &WorkerId) -> Result<Option<WorkerRecord>> {
    let path = home.record(id);
    let record: Option<WorkerRecord> = read_json(&path, WorkerRecord::VERSION)?;
    match record {
        Some(record) if record.id != *id => Err(misnamed(&path, record.id.as_str())),
        record => Ok(record),
    }
}

/// One record that has to be there.
pub fn get(home: &Home, id: &WorkerId) -> Result<WorkerRecord> {
    load(home, id)?.ok_or_else(|| no_worker(id.as_str()))
}

pub fn save(home: &Locked, record: &WorkerRecord) -> Result<()> {
    write_json(&home.record(&record.id), record)
}

/// Forgets a worker that is gone, and has its supervisor forget it.
pub fn remove(home: &Locked, record: &WorkerRecord) -> Result<()> {
    service_of(home, record).forget(home)?;
    file::remove(&home.record(&record.id))
}

/// The one worker that a person means: by its id, the start of its id, or its address.
pub fn find(home: &Home, text: &str) -> Result<WorkerRecord> {
    let mut found = all(home)?;
    let is_address = |record: &WorkerRecord| {
        let address = record.spec.address.as_ref();
        address.is_some_and(|address| address.to_string() == text)
    };
    if let Some(exact) = found.iter().position(|record| record.id.as_str() == text) {
        return Ok(found.swap_remove(exact));
    }
    let is_start = |record: &WorkerRecord| !text.is_empty() && record.id.as_str().starts_with(text);
    found.retain(|record| is_start(record) || is_address(record));
    match found.len() {
        1 => Ok(found.swap_remove(0)),
        0 => Err(no_worker(text)),
        _ => {
            let ids: Vec<&str> = found.iter().map(|record| record.id.as_str()).collect();
            Err(fail(
                ErrorCode::BadRequest,
                format!("{text} could be each of {}", ids.join(", ")),
                "write the whole id",
            ))
        }
    }
}

fn no_worker(text: &str) -> HiveError {
    fail(
        ErrorCode::NotFound,
        format!("there is no worker {text}"),
        "`rbee-hive worker list` shows those that there are",
    )
}

/// The process of a worker while it lives.
pub fn process_of(home: &Home, record: &WorkerRecord) -> Option<ProcessIdentity> {
    let is_starting = record.state == WorkerState::Starting;
    service_of(home, record).process(record.process.as_ref(), is_starting)
}

/// The records whose process lives.
pub fn users(home: &Home) -> Result<Vec<WorkerRecord>> {
    let mut records = all(home)?;
    records.retain(|record| process_of(home, record).is_some());
    Ok(records)
}

/// What the worker of a record is started with.
pub fn launch_of(home: &Home, record: &WorkerRecord) -> WorkerLaunch {
    let spec = &record.spec;
    WorkerLaunch {
        worker_id: record.id.clone(),
        model: spec.model.clone(),
        model_dir: home.model(&spec.model, &spec.model_digest),
        model_digest: Some(spec.model_digest),
        device: spec.device,
        listen: record.listen,
        slots: spec.slots,
        context: spec.context,
        dtype: spec.dtype,
        quantize: spec.quantize,
        token_file: None,
        address: spec.address.clone(),
        fleet: spec.fleet.clone(),
        link_file: spec.fleet.as_ref().map(|fleet| home.link(fleet)),
        aside: spec.ephemeral,
        traces: None,
    }
}

/// How its process is started and looked after.
pub fn service_of(home: &Home, record: &WorkerRecord) -> Service {
    let spec = &record.spec;
    let address = spec.address.as_ref();
    let known_as = address.map_or_else(|| record.id.to_string(), ToString::to_string);
    Service {
        name: record.id.to_string(),
        title: format!("worker {known_as}"),
        program: record.program.clone(),
        arguments: launch_of(home, record).to_argv(),
        log: home.log(&record.id),
        supervise: spec.supervise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_of_a_fleet_is_started_with_its_link_and_no_other_is() {
        let home = Home::new("/rbee".as_ref()).unwrap();
        let mut record: WorkerRecord = serde_json::from_value(serde_json::json!({
            "version": WorkerRecord::VERSION,
            "id": "w-1",
            "spec_hash": pool_core::digest::Sha256::of("spec"),
            "address": "chat/blep/cpu/0",
            "fleet": "home",
            "model": "tiny",
            "model_digest": pool_core::digest::Sha256::of("model"),
            "device": "cpu",
            "slots": 1,
            "listen": "127.0.0.1:8001",
            "started_at": "2026-01-01T00:00:00Z",
            "state": "ready",
            "log": "/rbee/logs/w-1.log",
            "program": "/rbee/bin/llm-worker-rbee",
        }))
        .unwrap();
        let launch = launch_of(&home, &record);
        assert_eq!(launch.address, record.spec.address);
        assert_eq!(launch.fleet, record.spec.fleet);
        assert_eq!(
            launch.link_file.unwrap(),
            home.root().join("fleets/home.json")
        );
        record.spec.fleet = None;
        assert_eq!(launch_of(&home, &record).link_file, None);
    }
}
