//! What the pool says of itself: facts, no judgement. Changes nothing.

use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use futures::future::join_all;
use pool_core::device::Device;
use pool_core::fit::Estimate;
use pool_core::model::CatalogEntry;
use pool_core::observation::{
    DeviceInfo, ObservedModel, ObservedOrchestrator, ObservedWorker, PoolObservation,
};
use pool_core::worker::{ProcessIdentity, WorkerRecord, WorkerState};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::{JoinSet, block_in_place};

use crate::error::Result;
use crate::machine::Cards;
use crate::{Hive, builds, links, machine, models, orchestrators, process, rates, workers};

/// Everything that a plan is made from.
pub async fn observe(hive: &Hive) -> Result<PoolObservation> {
    let (models, records) = at_leisure(|| Ok((models(hive)?, workers::all(&hive.home)?)))?;
    let root = hive.home.root();
    let (workers, orchestrators, cards) =
        tokio::join!(probe(hive, records), orchestrators(hive), Cards::look());
    let memory = machine::memory();
    let mut devices = machine::devices(memory, &cards);
    for info in &mut devices {
        let untouched = untouched(info, &cards, &models, &workers);
        info.memory.available = info.memory.available.saturating_sub(untouched);
    }
    Ok(PoolObservation {
        hostname: machine::hostname(),
        platform: machine::platform(),
        home: root.display().to_string(),
        home_id: home_id(root),
        build: builds::own(hive),
        hive_version: pool_core::VERSION.to_owned(),
        disk_free_bytes: machine::disk_free(root),
        address: address(std::env::var("SSH_CONNECTION").ok().as_deref()),
        rates: rates::load(&hive.home),
        memory,
        devices,
        no_cuda: cards.no_cuda,
        models,
        arrived: models::arrived(&hive.home)?,
        workers,
        orchestrators: orchestrators?,
        links: links::observe(&hive.home)?,
        configs: orchestrators::config::observe(&hive.home)?,
    })
}

/// The boot of the machine, and the folder by the numbers that its file system knows it by.
fn home_id(root: &Path) -> Option<String> {
    let (boot, folder) = (process::boot_id()?, root.metadata().ok()?);
    Some(format!("{boot}:{}:{}", folder.dev(), folder.ino()))
}

/// Bytes that the workers of a device asked for and did not touch yet: the system counts them as free.
fn untouched(
    device: &DeviceInfo,
    cards: &Cards,
    models: &[ObservedModel],
    workers: &[ObservedWorker],
) -> u64 {
    let here =
        |worker: &&ObservedWorker| worker.alive && worker.record.spec.device == device.device;
    let untouched = workers.iter().filter(here).map(|worker| {
        let WorkerRecord {
            spec,
            process,
            memory,
            state,
            ..
        } = &worker.record;
        let of_its_model = || {
            let mut models = models.iter().map(|model| &model.entry);
            let entry = models.find(|entry| entry.digest == spec.model_digest)?;
            Some(Estimate::of(&entry.manifest(), spec, device.threads).bytes)
        };
        let taken = memory.or_else(of_its_model).unwrap_or_default();
        let pid = process.as_ref().map(|process| process.pid);
        let touched = match spec.device {
            Device::Cpu => pid.and_then(machine::resident).unwrap_or_default(),
            // Where a driver does not tell: a worker has taken all that it asked for before it is ready, and perhaps
            // nothing while it starts.
            Device::Cuda(_) | Device::Metal(_) => pid
                .and_then(|pid| cards.held(spec.device, pid))
                .unwrap_or(if *state == WorkerState::Starting {
                    0
                } else {
                    taken
                }),
        };
        taken.saturating_sub(touched)
    });
    untouched.fold(0, u64::saturating_add)
}

/// The catalogued models and what is damaged of them.
pub fn models(hive: &Hive) -> Result<Vec<ObservedModel>> {
    let catalog = models::load(&hive.home)?;
    let observed = |entry: CatalogEntry| ObservedModel {
        damaged: models::damaged(&hive.home, &entry),
        touched: models::touched(&hive.home, &entry),
        entry,
    };
    Ok(catalog.models.into_values().map(observed).collect())
}

/// The recorded workers, all asked at once.
pub async fn workers(hive: &Hive) -> Result<Vec<ObservedWorker>> {
    let records = at_leisure(|| workers::all(&hive.home))?;
    Ok(probe(hive, records).await)
}

/// Does what may wait for the disk. Where there are other threads, they go on with the rest.
fn at_leisure<T>(work: impl FnOnce() -> T) -> T {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => work(),
        _ => block_in_place(work),
    }
}

async fn probe(hive: &Hive, records: Vec<WorkerRecord>) -> Vec<ObservedWorker> {
    let mut probes = JoinSet::new();
    for (place, record) in records.into_iter().enumerate() {
        let process = at_leisure(|| workers::process_of(&hive.home, &record));
        let http = hive.http.clone();
        probes.spawn(async move {
            let alive = process.is_some();
            let (answers, health) = if alive {
                workers::probe(&http, &record).await
            } else {
                (false, None)
            };
            let is_supervised = !record.spec.supervise.is_none();
            let restarted = is_supervised && alive && process != record.process;
            let record = if restarted {
                started_again(record, process, answers)
            } else {
                record
            };
            let observed = ObservedWorker {
                record,
                alive,
                answers,
                health,
            };
            (place, observed)
        });
    }
    let mut observed = probes.join_all().await;
    observed.sort_by_key(|(place, _)| *place);
    observed.into_iter().map(|(_, worker)| worker).collect()
}

/// The recorded orchestrators, all asked at once.
pub async fn orchestrators(hive: &Hive) -> Result<Vec<ObservedOrchestrator>> {
    let records = at_leisure(|| orchestrators::all(&hive.home))?;
    let probes = records.into_iter().map(async |mut record| {
        let process = at_leisure(|| orchestrators::process_of(&hive.home, &record));
        let alive = process.is_some();
        if alive && !record.spec.supervise.is_none() {
            // Its supervisor may have started it again.
            record.process = process;
        }
        ObservedOrchestrator {
            build: builds::of(&hive.home, record.program.as_ref()),
            alive,
            answers: alive && orchestrators::probe(&hive.http, &record.spec).await,
            record,
        }
    });
    Ok(join_all(probes).await)
}

/// A worker as its supervisor made it: another process, which is not ready before it has loaded its model.
fn started_again(
    record: WorkerRecord,
    process: Option<ProcessIdentity>,
    answers: bool,
) -> WorkerRecord {
    let state = match record.state {
        WorkerState::Ready if !answers => WorkerState::Starting,
        state => state,
    };
    WorkerRecord {
        process,
        state,
        ..record
    }
}

/// The address that the operator reached this machine by: the third word that sshd says of a connection.
fn address(connection: Option<&str>) -> Option<IpAddr> {
    connection?.split(' ').nth(2)?.parse().ok()
}
