//! Spawning a worker: done when it answered a real request.

use std::time::Duration;

use jiff::Timestamp;
use pool_core::FIRST_WORKER_PORT;
use pool_core::name::WorkerId;
use pool_core::rpc::{ErrorCode, HiveError, Progress};
use pool_core::worker::{WorkerRecord, WorkerSpec, WorkerState};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout_at};

use super::ready::{self, Reported, Unanswered};
use super::{log, ports, record, start, stop};
use crate::error::{Result, fail};
use crate::home::Locked;
use crate::{Hive, machine, models, process, random_hex};

/// How a worker is spawned, apart from what it is.
#[derive(Debug, Clone, Copy)]
pub struct SpawnOptions {
    /// Exactly this port; the first free one when absent.
    pub port: Option<u16>,
    /// How long it may take until it has answered.
    pub patience: Duration,
}

impl Default for SpawnOptions {
    fn default() -> Self {
        Self {
            port: None,
            patience: Duration::from_mins(1),
        }
    }
}

/// Between two looks at a worker that is starting.
const INTERVAL: Duration = Duration::from_millis(25);

/// Starts a worker, or takes up the live one of the same address and spec, and waits until it
/// answered a real request.
///
/// A worker that fails at that is stopped; its record says why and stays until the next attempt.
pub async fn spawn(
    hive: &Hive,
    spec: WorkerSpec,
    options: SpawnOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<WorkerRecord> {
    let deadline = Instant::now() + options.patience;
    let mut record = block_in_place(|| {
        let home = hive.home.lock()?;
        match take_up(&home, &spec)? {
            Some(record) => Ok(record),
            None => begin(hive, &home, spec, options.port),
        }
    })?;
    loop {
        let trouble = match timeout_at(deadline, wait(hive, &record, progress)).await {
            Ok(Ok(())) => return block_in_place(|| settle(hive, &record)),
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Failed(format!(
                "it did not answer within {} s",
                options.patience.as_secs()
            )),
        };
        let reason = match trouble {
            Trouble::Ended => {
                let is_fixed = options.port.is_some();
                if !is_fixed && block_in_place(|| move_on(hive, &mut record))? {
                    continue;
                }
                "it ended before it was ready".to_owned()
            }
            Trouble::Failed(reason) => reason,
        };
        return Err(give_up(hive, &record, reason).await?);
    }
}

/// Why a worker did not become ready.
enum Trouble {
    Ended,
    Failed(String),
}

/// Waits until the worker has answered. Without an end of its own where a worker neither answers
/// nor ends.
async fn wait(
    hive: &Hive,
    record: &WorkerRecord,
    progress: &(dyn Fn(Progress) + Sync),
) -> std::result::Result<(), Trouble> {
    let mut last = None;
    loop {
        let reported = ready::ask(&hive.http, record).await;
        if reported == Reported::Ready {
            match ready::canary(&hive.http, record).await {
                Err(Unanswered::Busy) => {}
                Err(wrong) => {
                    let reason = format!("a test request was not answered: {wrong}");
                    return Err(Trouble::Failed(reason));
                }
                Ok(()) => return Ok(()),
            }
        }
        if !record.process.as_ref().is_some_and(process::is_alive) {
            return Err(Trouble::Ended);
        }
        if let Reported::Loading(percent) = reported
            && last != Some(percent)
        {
            last = Some(percent);
            progress(Progress {
                message: format!("{} is loading {}", record.id, record.spec.model),
                percent,
            });
        }
        sleep(INTERVAL).await;
    }
}

/// The live worker with the same owner, address and spec. What is left of dead ones is cleared.
fn take_up(home: &Locked, spec: &WorkerSpec) -> Result<Option<WorkerRecord>> {
    let hash = spec.hash();
    let mut found = None;
    for mut record in record::all(home)? {
        let same = &record.spec == spec;
        let at_address = spec.address.is_some()
            && (&record.spec.address, &record.spec.fleet) == (&spec.address, &spec.fleet);
        let process = record::process_of(home, &record);
        if process.is_none() && (same || at_address) {
            record::remove(home, &record.id)?;
        }
        let is_usable = matches!(record.state, WorkerState::Starting | WorkerState::Ready);
        if process.is_some() && at_address && is_usable && record.spec_hash == hash {
            if record.process.is_none() {
                record.process = process;
                record::save(home, &record)?;
            }
            found = Some(record);
        }
    }
    Ok(found)
}

/// Starts the first process for a spec.
fn begin(hive: &Hive, home: &Locked, spec: WorkerSpec, port: Option<u16>) -> Result<WorkerRecord> {
    check(home, &spec)?;
    let program = start::program(hive)?;
    let listen = match port {
        Some(port) => ports::exactly(spec.listen_ip(), port)?,
        None => ports::first_free(spec.listen_ip(), FIRST_WORKER_PORT, &record::users(home)?)?,
    };
    let id = new_id(home, &spec)?;
    let mut record = WorkerRecord {
        version: WorkerRecord::VERSION,
        spec_hash: spec.hash(),
        listen,
        process: None,
        started_at: Timestamp::now(),
        state: WorkerState::Starting,
        log: home.log(&id).display().to_string(),
        program: program.display().to_string(),
        failure: None,
        spec,
        id,
    };
    start::start(hive, home, &mut record, listen)?;
    Ok(record)
}

/// Whether the pool has the model and the device.
fn check(home: &Locked, spec: &WorkerSpec) -> Result<()> {
    let catalog = models::load(home)?;
    let entry = catalog.models.get(&spec.model);
    let reason = match entry {
        None => Some("it is not in the catalog".to_owned()),
        Some(entry) if entry.digest != spec.model_digest => Some(format!(
            "its content is {}, not {}",
            entry.digest.short(),
            spec.model_digest.short()
        )),
        Some(entry) if !entry.downloaded => Some("its content is not all here".into()),
        Some(entry) => models::damaged(home, entry)
            .first()
            .map(|path| format!("{path} is damaged or missing")),
    };
    if let Some(reason) = reason {
        return Err(fail(
            ErrorCode::NotFound,
            format!("the model {} cannot be served: {reason}", spec.model),
            "bring it: `rbee apply`, or `rbee-hive models register` from its folder",
        ));
    }
    let devices = machine::devices();
    if devices.iter().all(|info| info.device != spec.device) {
        return Err(fail(
            ErrorCode::NotFound,
            format!("this pool has no device {}", spec.device),
            "`rbee-hive devices` shows those it has",
        ));
    }
    Ok(())
}

/// The model's name and chance: unique on the pool, telling in a list.
fn new_id(home: &Locked, spec: &WorkerSpec) -> Result<WorkerId> {
    let model: String = spec.model.as_str().chars().take(48).collect();
    loop {
        let text = format!(
            "{}-{}",
            model.trim_end_matches(['.', '_', '-']),
            random_hex()
        );
        let id: WorkerId = text.parse().map_err(|e| HiveError {
            code: ErrorCode::BadRequest,
            message: format!("{e}"),
            help: None,
        })?;
        if !home.record(&id).exists() && !home.log(&id).exists() {
            return Ok(id);
        }
    }
}

/// Starts a worker that ended again, on the next port, where somebody else took its port between the
/// look and its own bind. False where that is not why it ended.
fn move_on(hive: &Hive, record: &mut WorkerRecord) -> Result<bool> {
    let home = hive.home.lock()?;
    let current = still_wanted(&home, record)?;
    // Another call that waits for the same worker was first.
    if current.process != record.process {
        *record = current;
        return Ok(true);
    }
    if ports::is_free(record.listen)? {
        return Ok(false);
    }
    let next = record.listen.port().saturating_add(1);
    let listen = ports::first_free(record.listen.ip(), next, &record::users(&home)?)?;
    start::start(hive, &home, record, listen)?;
    Ok(true)
}

/// Writes down that the worker answered.
fn settle(hive: &Hive, record: &WorkerRecord) -> Result<WorkerRecord> {
    let home = hive.home.lock()?;
    let mut current = still_wanted(&home, record)?;
    if current.state != WorkerState::Ready {
        current.state = WorkerState::Ready;
        record::save(&home, &current)?;
    }
    Ok(current)
}

/// The record as it is now, unless somebody stops or stopped the worker meanwhile.
fn still_wanted(home: &Locked, record: &WorkerRecord) -> Result<WorkerRecord> {
    let current = record::load(home, &record.id)?;
    let is_wanted = |current: &WorkerRecord| {
        !matches!(current.state, WorkerState::Draining | WorkerState::Stopped)
    };
    current.filter(is_wanted).ok_or_else(|| {
        fail(
            ErrorCode::WorkerFailed,
            format!("the worker {} was stopped while it started", record.id),
            "spawn it again if it is still wanted",
        )
    })
}

/// Ends a worker that did not become ready and says why with the end of its log.
///
/// One that was ready before, and only does not answer now, is left to whoever owns it.
async fn give_up(hive: &Hive, record: &WorkerRecord, reason: String) -> Result<HiveError> {
    if record.state == WorkerState::Starting {
        if let Some(process) = &record.process {
            stop::end(process, Duration::from_secs(2)).await?;
        }
        block_in_place(|| {
            let home = hive.home.lock()?;
            let mut current = still_wanted(&home, record)?;
            current.state = WorkerState::Failed;
            current.failure = Some(reason.clone());
            record::save(&home, &current)
        })?;
    }
    let printed = log::tail(record.log.as_ref(), 20);
    let spec = &record.spec;
    let mut message = format!(
        "the worker {} ({} on {}) did not become ready: {reason}",
        record.id, spec.model, spec.device
    );
    if printed.is_empty() {
        message.push_str("; it printed nothing");
    } else {
        for line in printed.lines() {
            message.push_str("\n  | ");
            message.push_str(line);
        }
    }
    Ok(fail(
        ErrorCode::WorkerFailed,
        message,
        format!("the whole log: rbee-hive worker logs {}", record.id),
    ))
}
