//! What a spawn finds, and what it starts where it finds nothing.

use jiff::Timestamp;
use pool_core::FIRST_WORKER_PORT;
use pool_core::device::{Backend, Device};
use pool_core::name::WorkerId;
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::worker::{WorkerRecord, WorkerSpec, WorkerState};

use super::{SpawnOptions, ports, record, start};
use crate::error::{Result, fail};
use crate::home::Locked;
use crate::machine::Cards;
use crate::services::{self, supervise};
use crate::{Hive, links, models, random_hex};

/// The records in the place of a spec.
#[derive(Debug, Default)]
pub struct Place {
    /// The live worker with the same owner, address and spec.
    pub live: Option<WorkerRecord>,
    dead: Vec<WorkerRecord>,
}

/// Looks who is in the place of a spec.
pub fn look(home: &Locked, spec: &WorkerSpec) -> Result<Place> {
    let mut place = Place::default();
    for mut record in record::all(home)? {
        let at_address = is_at_address(&record, spec);
        if !at_address && &record.spec != spec {
            continue;
        }
        let Some(process) = record::process_of(home, &record) else {
            // One without an address may have lost its port, and be about to start on the next.
            if at_address || record.state != WorkerState::Starting {
                place.dead.push(record);
            }
            continue;
        };
        let is_usable = matches!(record.state, WorkerState::Starting | WorkerState::Ready);
        if at_address && is_usable && record.spec_hash == spec.hash() {
            if record.process.as_ref() != Some(&process) {
                record.process = Some(process);
                record::save(home, &record)?;
            }
            place.live = Some(record);
        }
    }
    Ok(place)
}

impl Place {
    /// Forgets the dead, which the next worker replaces.
    pub fn clear(&self, home: &Locked) -> Result<()> {
        let mut dead = self.dead.iter();
        dead.try_for_each(|record| record::remove(home, record))
    }
}

fn is_at_address(record: &WorkerRecord, spec: &WorkerSpec) -> bool {
    spec.address.is_some()
        && (&record.spec.address, &record.spec.fleet) == (&spec.address, &spec.fleet)
}

/// Starts the first process for a spec.
pub fn begin(
    hive: &Hive,
    home: &Locked,
    spec: WorkerSpec,
    options: &SpawnOptions,
) -> Result<WorkerRecord> {
    check(home, &spec)?;
    let program = services::program(hive, "llm-worker-rbee")?;
    if let Some(fleet) = &spec.fleet
        && !spec.listen_ip().is_loopback()
    {
        // Nobody else may use the model.
        links::ensure(home, fleet)?;
    }
    let listen = match options.port {
        Some(port) => ports::exactly(spec.listen_ip(), port)?,
        None => ports::first_free(home, spec.listen_ip(), FIRST_WORKER_PORT)?,
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
        memory: None,
        failure: None,
        protect: options.protect,
        load_ms: None,
        spec,
        id,
    };
    start::start(hive, home, &mut record, listen)?;
    Ok(record)
}

/// Whether the pool has the device. Its driver may take a while to answer: whoever asks holds no lock.
pub async fn has(device: Device) -> Result<()> {
    if device == Device::Cpu {
        return Ok(());
    }
    let cards = Cards::look().await;
    if cards.devices.iter().any(|info| info.device == device) {
        return Ok(());
    }
    let why = cards.no_cuda.filter(|_| device.backend() == Backend::Cuda);
    let why = why.map_or_else(String::new, |why| format!(": {why}"));
    Err(fail(
        ErrorCode::NotFound,
        format!("this pool has no device {device}{why}"),
        "`rbee-hive devices` shows those it has",
    ))
}

/// Whether the pool has the model and the supervisor.
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
    supervise::check(spec.supervise)
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
