//! Desired against observed: what differs, pool by pool, and why.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::facts;
use pool_core::fit;
use pool_core::name::{FleetName, ModelId};
use pool_core::observation::{
    DeviceInfo, ObservedModel, ObservedWorker, Platform, PoolObservation,
};
use pool_core::rpc::Subject;
use pool_core::worker::{WorkerRecord, WorkerState};

use crate::desired::{Desired, DesiredPool};
use crate::observed::{Bare, Observed, PoolState, Unknown};
use crate::reason::Reason;

mod drift;
mod links;
mod models;
mod orchestrators;
mod workers;

pub use drift::{
    Binaries, ConfigDrift, Drift, KnownDrift, LinkDrift, ModelDrift, OldWorker, OrchestratorDrift,
    PoolDrift, Serving, Update, WorkerDrift,
};
use workers::Wanted;

/// Compares. Total: whatever cannot be done or known is part of the result.
pub fn diff(desired: &Desired, observed: &Observed) -> Drift {
    let pools = desired.pools.iter().map(|(name, pool)| {
        let drift = match observed.pools.get(name) {
            None => PoolDrift::Unknown(Unknown {
                unreachable: true,
                cause: "it was not asked".into(),
                help: None,
            }),
            Some(PoolState::Unknown(unknown)) => PoolDrift::Unknown(unknown.clone()),
            Some(PoolState::Bare(bare)) => diff_bare(desired, pool, bare),
            Some(PoolState::Known(seen)) => {
                PoolDrift::Known(Box::new(diff_known(desired, pool, seen)))
            }
        };
        (name.clone(), drift)
    });
    let mut pools = pools.collect();
    links::diff_links(desired, observed, &mut pools);
    let mut declared = BTreeMap::new();
    for (id, model) in desired.pools.values().flat_map(|pool| &pool.models) {
        if !declared.contains_key(id) {
            declared.insert(id.clone(), model.max_outage_ms);
        }
    }
    Drift {
        fleet: desired.fleet.clone(),
        declared,
        pools,
        orchestrator: desired.home.clone(),
        warnings: desired.warnings.clone(),
    }
}

/// A hive is installed where workers or the orchestrator are wanted. Where none are and the hive there does not run, there
/// may be workers of ours that cannot be stopped.
fn diff_bare(desired: &Desired, pool: &DesiredPool, bare: &Bare) -> PoolDrift {
    if pool.workers.is_empty() && pool.orchestrator.is_none() {
        return match &bare.broken {
            None => PoolDrift::Known(Box::default()),
            Some(cause) => PoolDrift::Unknown(Unknown {
                unreachable: false,
                cause: cause.clone(),
                help: Some("apply a worker to the pool: that installs a hive that runs".into()),
            }),
        };
    }
    let mut drift = diff_contents(desired, pool, &Seen::default());
    drift.is_bare = true;
    drift.orchestrator = orchestrators::diff_orchestrator(desired, pool, &[], None);
    drift.configs = orchestrators::diff_configs(pool, None);
    drift.binaries = Some(match build_for(desired, &bare.platform) {
        Ok((target, to)) => Binaries::Install {
            target,
            from: bare.installed,
            to,
            reason: match &bare.broken {
                Some(cause) => Reason::HiveBroken {
                    cause: cause.clone(),
                },
                None => Reason::NotInstalled,
            },
        },
        Err(why) => Binaries::NoBuild { why },
    });
    drift.unseen.clone_from(&bare.broken);
    PoolDrift::Known(Box::new(drift))
}

fn diff_known(desired: &Desired, pool: &DesiredPool, seen: &PoolObservation) -> KnownDrift {
    let mut drift = diff_contents(desired, pool, &Seen::of(seen));
    (drift.disk_free, drift.rates) = (seen.disk_free_bytes, seen.rates);
    drift.arrived.clone_from(&seen.arrived);
    let build = build_for(desired, &seen.platform).ok();
    drift.orchestrator = orchestrators::diff_orchestrator(
        desired,
        pool,
        &seen.orchestrators,
        // Where nothing can be brought, the pool keeps its own.
        build.as_ref().map(|(_, build)| *build).or(seen.build),
    );
    drift.configs = orchestrators::diff_configs(pool, seen.configs.get(&desired.fleet));
    if !drift.extra_models.is_empty() {
        drift.named = seen.models.iter().map(named).collect();
    }
    drift.available = seen
        .devices
        .iter()
        .map(|info| (info.device, info.memory.available))
        .collect();
    for (address, worker) in &mut drift.workers {
        if let Some(why) = seen.lacks(address.device) {
            *worker = WorkerDrift::Blocked { why };
        }
        let info = seen
            .devices
            .iter()
            .find(|info| info.device == address.device);
        if info.is_some_and(|info| info.memory.total == 0)
            && matches!(worker, WorkerDrift::Spawn { need: Some(_), .. })
        {
            let why = format!("how much memory {} has free is not known", address.device);
            *worker = WorkerDrift::Blocked { why };
        }
    }
    let blocked = |address| {
        matches!(
            drift.workers.get(address),
            Some(WorkerDrift::Blocked { .. })
        )
    };
    let wanted = |id: &ModelId| {
        let mut users = pool
            .workers
            .iter()
            .filter(|(_, worker)| worker.model == *id);
        users.any(|(address, _)| !blocked(address))
    };
    drift
        .models
        .retain(|id, model| matches!(model, ModelDrift::Blocked { .. }) || wanted(id));
    if let Some((target, to)) = build
        && seen.build != Some(to)
    {
        let reason = if seen.build.is_some() {
            Reason::OtherBuild
        } else {
            Reason::NotInstalled
        };
        let from = seen.build;
        drift.binaries = Some(Binaries::Install {
            target,
            from,
            to,
            reason,
        });
    }
    drift
}

fn named(model: &ObservedModel) -> (ModelId, BTreeSet<Sha256>) {
    let files = model.entry.files.iter().map(|file| file.file.sha256);
    (model.entry.id.clone(), files.collect())
}

/// The build for a platform, with its target triple, or why there is none.
fn build_for(desired: &Desired, platform: &Platform) -> Result<(String, Sha256), String> {
    let none = || format!("there are no binaries for {platform}");
    let target = platform.target().ok_or_else(none)?;
    let build = desired.builds.get(target).ok_or_else(none)?;
    Ok((target.to_owned(), build.clone()?))
}

/// The part of an observation that models and workers are compared with.
#[derive(Default)]
pub(crate) struct Seen<'a> {
    models: &'a [ObservedModel],
    workers: &'a [ObservedWorker],
    devices: &'a [DeviceInfo],
}

impl<'a> Seen<'a> {
    pub(crate) fn of(seen: &'a PoolObservation) -> Self {
        Self {
            models: &seen.models,
            workers: &seen.workers,
            devices: &seen.devices,
        }
    }

    /// The model with this content.
    fn model(&self, digest: Sha256) -> Option<&'a ObservedModel> {
        let mut models = self.models.iter();
        models.find(|model| model.entry.digest == digest)
    }

    /// How many threads compute there.
    fn threads(&self, device: Device) -> Option<u32> {
        let info = self.devices.iter().find(|info| info.device == device);
        info.and_then(|info| info.threads)
    }

    /// What a worker takes: what it said, else what its model's files tell.
    pub(crate) fn held(&self, worker: &ObservedWorker) -> Option<u64> {
        let WorkerRecord { spec, memory, .. } = &worker.record;
        if let Some(bytes) = memory {
            return Some(*bytes);
        }
        let model = self.model(spec.model_digest)?;
        let threads = self.threads(spec.device);
        let need = fit::need(&model.entry.manifest(), spec, threads)?;
        Some(need.total())
    }
}

/// It is gone and never served: there is nothing to protect.
fn has_failed(worker: &ObservedWorker) -> bool {
    !worker.alive && worker.record.state == WorkerState::Failed
}

/// What to change where a model is protected and should not be, or the other way round.
fn kept_otherwise(model: &ObservedModel, protect: bool) -> Option<Update> {
    let entry = &model.entry;
    (entry.protect != protect).then(|| Update {
        subject: Subject::Model(entry.id.clone()),
        address: None,
        protect,
        was: facts::model(entry),
    })
}

fn diff_contents(desired: &Desired, pool: &DesiredPool, seen: &Seen) -> KnownDrift {
    let gone = desired.gone();
    let contents = models::contents(seen.models);
    let live = seen
        .workers
        .iter()
        .filter(|worker| worker.alive)
        .map(|worker| &worker.record);
    let mut drift = KnownDrift {
        running: live
            .map(|record| (record.id.clone(), record.spec.model.clone()))
            .collect(),
        is_local: pool.is_local,
        purpose: desired.purpose,
        contents: contents.whole,
        touched: contents.touched,
        ..KnownDrift::default()
    };
    let owned = |owner: &Option<FleetName>| owner.as_ref() == Some(&desired.fleet);
    for (id, model) in &pool.models {
        let current = seen.models.iter().find(|seen| seen.entry.id == *id);
        if let Some(current) = current.filter(|current| owned(&current.entry.fleet)) {
            drift.updates.extend(kept_otherwise(current, model.protect));
        }
        if let Some(difference) = models::diff_model(&desired.fleet, model, current) {
            drift.models.insert(id.clone(), difference);
        }
    }
    for model in seen.models {
        let id = &model.entry.id;
        if !owned(&model.entry.fleet) || pool.models.contains_key(id) {
            continue;
        }
        let declared = desired.declared.get(id).copied();
        let update = declared.and_then(|protect| kept_otherwise(model, protect));
        if model.entry.protect && declared.is_none() {
            drift.protected_models.push(id.clone());
        } else if !model.entry.protect && declared != Some(true) {
            let reason = declared.map_or_else(|| gone.clone(), |_| Reason::Unused);
            drift.extra_models.push((model.clone(), reason));
        }
        drift.updates.extend(update);
    }
    let workers: Vec<&ObservedWorker> = seen
        .workers
        .iter()
        .filter(|worker| owned(&worker.record.spec.fleet))
        .collect();
    let live = workers.iter().filter(|worker| worker.alive);
    let held = live.filter_map(|worker| Some((worker.record.id.clone(), seen.held(worker)?)));
    drift.held = held.collect();
    let serving = workers.iter().filter(|worker| worker.is_serving());
    drift.serving = serving
        .filter_map(|worker| {
            let WorkerRecord { id, spec, .. } = &worker.record;
            Some(Serving {
                worker: id.clone(),
                address: spec.address.clone()?,
                model: spec.model.clone(),
            })
        })
        .collect();
    for (address, worker) in &pool.workers {
        let content = pool.models.get(&worker.model).map(|model| &model.content);
        let at_address =
            |seen: &&&ObservedWorker| seen.record.spec.address.as_ref() == Some(address);
        let current: Vec<&ObservedWorker> = workers.iter().filter(at_address).copied().collect();
        let Some(Ok(content)) = content else {
            let why = format!("the files of model {} are not known", worker.model);
            if !current.iter().any(|worker| worker.is_serving()) {
                drift
                    .workers
                    .insert(address.clone(), WorkerDrift::Blocked { why });
            }
            continue;
        };
        let wanted = Wanted {
            address,
            spec: worker.spec(&desired.fleet, address, content.digest()),
            worker,
            content,
        };
        workers::diff_worker(&mut drift, wanted, &current, seen);
    }
    for (id, model) in &mut drift.models {
        if let ModelDrift::Bring { in_use, .. } = model {
            let mut users = pool
                .workers
                .iter()
                .filter(|(_, worker)| worker.model == *id);
            *in_use = users.any(|(address, _)| !drift.workers.contains_key(address));
        }
    }
    for worker in workers {
        let declared = worker
            .record
            .spec
            .address
            .as_ref()
            .is_some_and(|address| pool.workers.contains_key(address));
        if declared {
            continue;
        }
        if worker.record.protect && !has_failed(worker) {
            drift.protected_workers.push(worker.clone());
        } else {
            drift.extra_workers.push((worker.clone(), gone.clone()));
        }
    }
    drift
}
