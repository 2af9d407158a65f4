//! `workers/<id>.json`: one worker process, from the moment before it is started.

use std::io;
use std::time::{Duration, Instant};

use pool_core::launch::WorkerLaunch;
use pool_core::name::WorkerId;
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::worker::{ProcessIdentity, WorkerRecord, WorkerState};

use super::{log, supervise};
use crate::error::{Result, fail, io_error};
use crate::file::{misnamed, read_json, sync_folder, write_json};
use crate::home::{Home, Locked};
use crate::process;

/// All records, the oldest first.
pub fn all(home: &Home) -> Result<Vec<WorkerRecord>> {
    let folder = home.workers();
    let failed = |e: io::Error| io_error("read", &folder, &e);
    let entries = match folder.read_dir() {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut records = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".json"));
        if let Some(id) = id.and_then(|id| id.parse().ok()) {
            records.extend(load(home, &id)?);
        }
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
    supervise::forget(home, record)?;
    let path = home.record(&record.id);
    match std::fs::remove_file(&path).and_then(|()| sync_folder(&home.workers())) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(io_error("remove", &path, &e)),
        _ => Ok(()),
    }
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

/// The process of a worker while it lives, also when the hive that started it was killed before it
/// could write it down, or when its supervisor started it again.
pub fn process_of(home: &Home, record: &WorkerRecord) -> Option<ProcessIdentity> {
    match &record.process {
        Some(process) if process::is_alive(process) => Some(process.clone()),
        _ if !record.spec.supervise.is_none() => supervise::find(home, record),
        None if record.state == WorkerState::Starting => find_started(home, record),
        _ => None,
    }
}

/// Looks for the process of a start that was cut short, by its command line.
///
/// A process has none for a moment while it becomes another program. What it has all the time is
/// its log, so as long as that is held the process is there and is looked for again.
fn find_started(home: &Home, record: &WorkerRecord) -> Option<ProcessIdentity> {
    let arguments = launch_of(home, record).to_argv();
    let deadline = Instant::now() + Duration::from_secs(1);
    loop {
        let found = process::find(&arguments);
        if found.is_some() || !log::is_held(&home.log(&record.id)) || Instant::now() > deadline {
            return found;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
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
    }
}
