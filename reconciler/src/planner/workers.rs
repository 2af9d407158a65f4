//! Spawns, replaces and stops the workers of a pool, so that they always fit.

use std::collections::BTreeMap;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::facts::{self, About};
use pool_core::fit::Estimate;
use pool_core::name::{ModelId, WorkerId};
use pool_core::observation::ObservedWorker;
use pool_core::units;
use pool_core::worker::{Canary, WorkerSpec};

use super::room::{Freed, Room};
use super::{PoolPlanner, Rest};
use crate::diff::{ModelDrift, OldWorker, WorkerDrift};
use crate::plan::{ActionId, ActionKind, Fit, Order};
use crate::reason::Reason;

/// A worker that is to be spawned.
struct Wanted<'a> {
    address: &'a WorkerAddress,
    spec: &'a WorkerSpec,
    need: Option<Estimate>,
    old: &'a [OldWorker],
    reason: &'a Reason,
    canary: &'a Canary,
    protect: bool,
    was: Option<Sha256>,
}

impl<'a> PoolPlanner<'a, '_> {
    /// Returns, for each spawn, its model and its action. What does not fit is tried again once others were replaced by
    /// smaller ones.
    pub(super) fn workers(&mut self, base: &[ActionId]) -> Vec<(ModelId, ActionId)> {
        let mut waiting = Vec::new();
        for (address, worker) in &self.drift.workers {
            let what = || format!("worker {address}");
            match worker {
                WorkerDrift::Blocked { why } => self.block(&what(), why),
                WorkerDrift::Spawn { spec, .. } if self.blocked.contains(&spec.model) => {
                    self.block(&what(), &format!("its model {} is blocked", spec.model));
                }
                WorkerDrift::Spawn {
                    spec,
                    need,
                    old,
                    reason,
                    canary,
                    protect,
                    was,
                } => waiting.push(Wanted {
                    address,
                    spec,
                    need: *need,
                    old,
                    reason,
                    canary,
                    protect: *protect,
                    was: *was,
                }),
            }
        }
        let mut spawned = Vec::new();
        loop {
            let before = spawned.len();
            waiting.retain(|wanted| {
                let mut needs = base.to_vec();
                needs.extend(self.brought.get(&wanted.spec.model));
                let id = self.spawn(wanted, needs);
                spawned.extend(id.map(|id| (wanted.spec.model.clone(), id)));
                id.is_none()
            });
            if spawned.len() == before {
                break;
            }
        }
        for wanted in waiting {
            let why = self.no_room(&wanted);
            self.block(&format!("worker {}", wanted.address), &why);
        }
        spawned
    }

    /// None where it does not fit, and then nothing is stopped for it.
    fn spawn(&mut self, wanted: &Wanted<'a>, mut needs: Vec<ActionId>) -> Option<ActionId> {
        let Wanted { spec, old, .. } = wanted;
        if self.idle.contains(&spec.model) {
            return None;
        }
        let device = wanted.address.device;
        let bytes = wanted.need.map_or(0, |need| need.bytes);
        let serving = old.iter().any(|worker| worker.serving);
        let extra: u64 = self.extra(device).map(|(_, bytes)| bytes).sum();
        let beside = self.left(device).saturating_add(extra);
        let alone = beside.saturating_add(old.iter().map(|worker| worker.frees).sum());
        if bytes > alone {
            return None;
        }
        let replaces = (!old.is_empty()).then_some(if serving && bytes <= beside {
            Order::StartFirst
        } else {
            Order::StopFirst
        });
        let mut stops = Vec::new();
        if replaces == Some(Order::StopFirst) {
            for worker in *old {
                stops.push(self.stop_old(wanted.address, worker, needs.clone()));
            }
        }
        while self.left(device) < bytes {
            let (worker, _) = self.extra(device).next()?;
            self.stop_extra(worker, needs.clone());
        }
        let free = self.room.get(&device).map(Room::left);
        let fit = wanted.need.map(|need| Fit {
            bytes: need.bytes,
            is_guess: need.is_guess,
            free,
        });
        let room = self.room.get_mut(&device);
        stops.extend(room.map(|room| room.take(bytes)).unwrap_or_default());
        stops.sort_unstable();
        stops.dedup();
        needs.extend(stops);
        let spawn = ActionKind::Spawn {
            spec: Box::new((*spec).clone()),
            replaces,
            canary: wanted.canary.clone(),
            protect: wanted.protect,
            restore: self.restore(wanted, replaces),
            fit,
        };
        let facts = match replaces {
            Some(Order::StopFirst) => Vec::new(),
            _ => self.fact(About::Place(wanted.address.clone()), wanted.was),
        };
        let spawned = self.act(spawn, wanted.reason.clone(), needs, facts);
        if replaces == Some(Order::StartFirst) {
            for worker in *old {
                self.stop_old(wanted.address, worker, vec![spawned]);
            }
        }
        Some(spawned)
    }

    /// What serves at an address and stops first, where the pool can start it again: the plan leaves its model as it is.
    fn restore(&self, wanted: &Wanted, replaces: Option<Order>) -> Option<Box<WorkerSpec>> {
        if replaces != Some(Order::StopFirst) {
            return None;
        }
        let mut serving = wanted.old.iter().filter(|worker| worker.serving);
        let spec = serving.find_map(|worker| worker.spec.as_ref())?;
        let stays = match self.drift.models.get(&spec.model) {
            Some(ModelDrift::Bring { content, .. }) => {
                !self.brought.contains_key(&spec.model) || content.digest() == spec.model_digest
            }
            _ => true,
        };
        stays.then(|| spec.clone())
    }

    /// The models to be brought that no worker serves, because none of those that should has a place.
    pub(super) fn unserved(&mut self) -> Vec<&'a ModelId> {
        let is_idle = |id: &ModelId| self.idle.contains(id) || self.blocked.contains(id);
        let models = self.drift.models.iter();
        let mut unserved: Vec<&ModelId> = models
            .filter(|(id, model)| {
                matches!(model, ModelDrift::Bring { in_use: false, .. }) && !is_idle(id)
            })
            .map(|(id, _)| id)
            .collect();
        if unserved.is_empty() || self.all_fit() {
            return Vec::new();
        }
        // A trial of which nothing stays.
        let (actions, blocked) = (self.plan.actions.len(), self.plan.blocked.len());
        let (room, stopped) = (self.room.clone(), self.stopped.clone());
        let spawned = self.workers(&[]);
        self.plan.actions.truncate(actions);
        self.plan.blocked.truncate(blocked);
        (self.room, self.stopped) = (room, stopped);
        unserved.retain(|id| !spawned.iter().any(|(model, _)| model == *id));
        unserved
    }

    /// All that is to be spawned fits beside all that runs.
    fn all_fit(&self) -> bool {
        let mut needs: BTreeMap<Device, u64> = BTreeMap::new();
        for (address, worker) in &self.drift.workers {
            if let WorkerDrift::Spawn {
                need: Some(need), ..
            } = worker
            {
                let device = needs.entry(address.device).or_default();
                *device = device.saturating_add(need.bytes);
            }
        }
        needs
            .iter()
            .all(|(device, bytes)| *bytes <= self.left(*device))
    }

    /// Why a worker has no place, even where everything is stopped that may be.
    fn no_room(&self, wanted: &Wanted) -> String {
        let device = wanted.address.device;
        let room = self.room.get(&device);
        let stopped = room.into_iter().flat_map(Room::stopped);
        let mut stopped: Vec<String> = stopped
            .map(|(worker, address)| known_as(worker, address.as_ref()))
            .collect();
        let mut left = self.left(device);
        for (worker, bytes) in self.extra(device) {
            let record = &worker.record;
            stopped.push(known_as(&record.id, record.spec.address.as_ref()));
            left = left.saturating_add(bytes);
        }
        for worker in wanted.old.iter().filter(|worker| worker.frees > 0) {
            stopped.push(name(wanted.address));
            left = left.saturating_add(worker.frees);
        }
        stopped.dedup();
        let need = wanted.need.map_or(0, |need| need.bytes);
        let (need, left) = (units::bytes(need), units::bytes(left));
        let guess = match wanted.need {
            Some(Estimate { is_guess: true, .. }) => " (a guess from its files)",
            _ => "",
        };
        let after = if stopped.is_empty() {
            String::new()
        } else {
            format!(" after stopping {}", stopped.join(", "))
        };
        format!(
            "needs {need}{guess}, {}/{device} has {left}{after}",
            self.pool
        )
    }

    fn left(&self, device: Device) -> u64 {
        self.room.get(&device).map_or(u64::MAX, Room::left)
    }

    /// The undeclared workers of a device that free memory and are not stopped yet, those first that nothing follows.
    fn extra(&self, device: Device) -> impl Iterator<Item = (&'a ObservedWorker, u64)> {
        let is_followed = |worker: &ObservedWorker| {
            let model = &worker.record.spec.model;
            let mut workers = self.drift.workers.values();
            workers.any(
                |worker| matches!(worker, WorkerDrift::Spawn { spec, .. } if spec.model == *model),
            )
        };
        let extra = self.drift.extra_workers.iter().map(|(worker, _)| worker);
        let extra = extra.filter(|worker| worker.record.spec.device == device);
        let extra = extra.filter(|worker| !self.stopped.contains(&worker.record.id));
        let frees = |worker: &'a ObservedWorker| (worker, self.drift.frees(&worker.record.id));
        let mut extra: Vec<_> = extra.map(frees).filter(|(_, bytes)| *bytes > 0).collect();
        extra.sort_by_key(|(worker, _)| is_followed(worker));
        extra.into_iter()
    }

    fn stop_old(
        &mut self,
        address: &WorkerAddress,
        worker: &OldWorker,
        needs: Vec<ActionId>,
    ) -> ActionId {
        let stop = ActionKind::Stop {
            worker: worker.id.clone(),
            address: Some(address.clone()),
            for_spawn: true,
        };
        let facts = self.fact(About::Worker(worker.id.clone()), Some(worker.was));
        let id = self.act(stop, Reason::Replaced, needs, facts);
        self.freed(id, address.device, &worker.id, Some(address));
        id
    }

    fn stop_extra(&mut self, worker: &'a ObservedWorker, needs: Vec<ActionId>) {
        let record = &worker.record;
        let extra = self.drift.extra_workers.iter();
        let found = extra
            .into_iter()
            .find(|(extra, _)| extra.record.id == record.id);
        let Some((_, reason)) = found else {
            return;
        };
        let stop = ActionKind::Stop {
            worker: record.id.clone(),
            address: record.spec.address.clone(),
            for_spawn: false,
        };
        let was = facts::worker(record);
        let facts = self.fact(About::Worker(record.id.clone()), Some(was));
        let id = self.act(stop, reason.clone(), needs, facts);
        self.stopped.insert(&record.id);
        let address = record.spec.address.as_ref();
        self.freed(id, record.spec.device, &record.id, address);
    }

    /// Counts what a stop frees.
    fn freed(
        &mut self,
        stop: ActionId,
        device: Device,
        worker: &WorkerId,
        address: Option<&WorkerAddress>,
    ) {
        let bytes = self.drift.frees(worker);
        if let Some(room) = self.room.get_mut(&device) {
            let worker = (worker.clone(), address.cloned());
            room.give(Freed {
                stop,
                worker,
                bytes,
            });
        }
    }

    /// Stops what is not declared and still runs, each after the spawns of the model that it serves: those of its pool, else
    /// the first of another. What is protected stays.
    pub(super) fn stops(mut self, rest: Rest<'a>, elsewhere: &BTreeMap<ModelId, ActionId>) {
        self.stopped = rest.stopped;
        for worker in &self.drift.protected_workers {
            let record = &worker.record;
            let address = record.spec.address.as_ref();
            let name = address.map_or_else(|| record.id.to_string(), ToString::to_string);
            self.block_protected(&format!("worker {name}"));
        }
        for (worker, _) in &self.drift.extra_workers {
            if self.stopped.contains(&worker.record.id) {
                continue;
            }
            let model = &worker.record.spec.model;
            let successors = rest.spawned.iter().filter(|(spawned, _)| spawned == model);
            let mut successors: Vec<ActionId> = successors.map(|(_, id)| *id).collect();
            if successors.is_empty() {
                successors.extend(elsewhere.get(model));
            }
            let needs = rest.base.iter().copied().chain(successors).collect();
            self.stop_extra(worker, needs);
        }
    }
}

/// How people know a worker of the fleet.
fn known_as(worker: &WorkerId, address: Option<&WorkerAddress>) -> String {
    address.map_or_else(|| worker.to_string(), name)
}

/// What tells a worker from the others of its device.
fn name(address: &WorkerAddress) -> String {
    match address.ordinal {
        0 => address.label(),
        ordinal => format!("{}/{ordinal}", address.label()),
    }
}
