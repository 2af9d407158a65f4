//! From a drift to the plan that removes it.
//!
//! Invariants, held for every drift: an action needs only earlier ones; no action names a pool
//! whose state is unknown; what is stopped for a replacement is stopped after everything that the
//! replacement needs was brought.

use std::collections::BTreeMap;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::name::{ModelId, PoolName, WorkerId};
use pool_core::worker::WorkerSpec;

use crate::diff::{Binaries, Drift, KnownDrift, ModelDrift, OldWorker, PoolDrift, WorkerDrift};
use crate::plan::{Action, ActionId, ActionKind, Blocked, Order, Plan, UnknownPool};
use crate::reason::Reason;

/// What a plan may do beyond bringing and replacing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Remove the files of models that the fleet no longer uses.
    pub prune_models: bool,
}

/// Orders the actions. Total: what cannot be done is listed as blocked.
pub fn plan(drift: &Drift, options: Options) -> Plan {
    let mut plan = Plan {
        version: Plan::VERSION,
        fleet: drift.fleet.clone(),
        actions: Vec::new(),
        blocked: Vec::new(),
        unknown: Vec::new(),
        warnings: Vec::new(),
    };
    for (pool, drift) in &drift.pools {
        match drift {
            PoolDrift::Unknown(unknown) => plan.unknown.push(UnknownPool {
                pool: pool.clone(),
                unknown: unknown.clone(),
            }),
            PoolDrift::Known(drift) => {
                let available = drift.available.clone();
                PoolPlanner {
                    plan: &mut plan,
                    pool,
                    drift,
                    available,
                    brought: BTreeMap::new(),
                }
                .run(options);
            }
        }
    }
    plan
}

struct PoolPlanner<'a> {
    plan: &'a mut Plan,
    pool: &'a PoolName,
    drift: &'a KnownDrift,
    /// Memory left for workers that start while the old ones run.
    available: BTreeMap<Device, u64>,
    /// The last action that brings a model.
    brought: BTreeMap<&'a ModelId, ActionId>,
}

impl PoolPlanner<'_> {
    fn run(mut self, options: Options) {
        let install = match &self.drift.binaries {
            None => None,
            Some(Binaries::NoBuild { why }) => {
                self.block("rbee", why);
                return;
            }
            Some(Binaries::Install {
                target,
                from,
                to,
                reason,
            }) => {
                let (target, from, to) = (target.clone(), *from, *to);
                let kind = ActionKind::Install { target, from, to };
                Some(self.act(kind, reason.clone(), Vec::new()))
            }
        };
        if let Some(cause) = &self.drift.unseen {
            let pool = self.pool;
            self.plan.warnings.push(format!("what runs on {pool} is not known until its hive does ({cause}): plan again after this one"));
        }
        let base: Vec<ActionId> = install.into_iter().collect();
        self.models(&base);
        let spawned = self.workers(&base);
        self.stops(&base, &spawned);
        if options.prune_models {
            self.prune(&base);
        }
    }

    fn models(&mut self, base: &[ActionId]) {
        for (id, model) in &self.drift.models {
            match model {
                ModelDrift::Blocked { why } => self.block(&format!("model {id}"), why),
                ModelDrift::Bring {
                    source,
                    manifest,
                    missing,
                    reason,
                } => {
                    let register = ActionKind::Register {
                        model: id.clone(),
                        source: source.clone(),
                        manifest: manifest.clone(),
                    };
                    let registered = self.act(register, reason.clone(), base.to_vec());
                    let copy = ActionKind::Copy {
                        model: id.clone(),
                        files: missing.clone(),
                    };
                    let copied = self.act(copy, reason.clone(), vec![registered]);
                    self.brought.insert(id, copied);
                }
            }
        }
    }

    /// Returns, for each spawn, its model and its action.
    fn workers(&mut self, base: &[ActionId]) -> Vec<(ModelId, ActionId)> {
        let mut spawned = Vec::new();
        for (address, worker) in &self.drift.workers {
            let what = format!("worker {address}");
            match worker {
                WorkerDrift::Blocked { why } => self.block(&what, why),
                WorkerDrift::Spawn { spec, .. }
                    if matches!(
                        self.drift.models.get(&spec.model),
                        Some(ModelDrift::Blocked { .. })
                    ) =>
                {
                    self.block(&what, &format!("its model {} is blocked", spec.model));
                }
                WorkerDrift::Spawn {
                    spec,
                    weights,
                    old,
                    reason,
                } => {
                    let mut needs = base.to_vec();
                    needs.extend(self.brought.get(&spec.model));
                    let id = self.spawn(address, spec, *weights, old, reason, needs);
                    spawned.push((spec.model.clone(), id));
                }
            }
        }
        spawned
    }

    fn spawn(
        &mut self,
        address: &WorkerAddress,
        spec: &WorkerSpec,
        weights: u64,
        old: &[OldWorker],
        reason: &Reason,
        mut needs: Vec<ActionId>,
    ) -> ActionId {
        let serving = old.iter().any(|worker| worker.serving);
        let replaces = (!old.is_empty()).then(|| {
            if serving && self.take_room(address.device, weights) {
                Order::StartFirst
            } else {
                Order::StopFirst
            }
        });
        let spawn = ActionKind::Spawn {
            spec: Box::new(spec.clone()),
            replaces,
        };
        let stop = |worker: &OldWorker| ActionKind::Stop {
            worker: worker.id.clone(),
            address: Some(address.clone()),
            for_spawn: true,
        };
        if replaces == Some(Order::StopFirst) {
            if serving {
                self.plan.warnings.push(format!(
                    "{address} is down while it is replaced: there is no memory for both"
                ));
            }
            let stops: Vec<ActionId> = old
                .iter()
                .map(|worker| self.act(stop(worker), Reason::Replaced, needs.clone()))
                .collect();
            needs.extend(stops);
            return self.act(spawn, reason.clone(), needs);
        }
        let spawned = self.act(spawn, reason.clone(), needs);
        for worker in old {
            self.act(stop(worker), Reason::Replaced, vec![spawned]);
        }
        spawned
    }

    /// Stops what is not declared, each after the spawns of the model that it serves.
    fn stops(&mut self, base: &[ActionId], spawned: &[(ModelId, ActionId)]) {
        for (worker, reason) in &self.drift.extra_workers {
            let spec = &worker.record.spec;
            let successors = spawned.iter().filter(|(model, _)| *model == spec.model);
            let needs = base
                .iter()
                .copied()
                .chain(successors.map(|(_, id)| *id))
                .collect();
            let kind = ActionKind::Stop {
                worker: worker.record.id.clone(),
                address: spec.address.clone(),
                for_spawn: false,
            };
            self.act(kind, reason.clone(), needs);
        }
    }

    /// Removes models that are not declared, after every stop on the pool. A model that a worker
    /// goes on serving stays.
    fn prune(&mut self, base: &[ActionId]) {
        let stops = self
            .plan
            .actions
            .iter()
            .filter(|action| action.pool == *self.pool);
        let (stops, stopped): (Vec<ActionId>, Vec<&WorkerId>) = stops
            .filter_map(|action| match &action.kind {
                ActionKind::Stop { worker, .. } => Some((action.id, worker)),
                _ => None,
            })
            .unzip();
        let stays = |model: &ModelId| {
            let mut users = self.drift.running.iter().filter(|(_, used)| used == model);
            users.any(|(worker, _)| !stopped.contains(&worker))
        };
        let (kept, removed): (Vec<_>, Vec<_>) = self
            .drift
            .extra_models
            .iter()
            .partition(|(model, _)| stays(&model.entry.id));
        for (model, _) in kept {
            let (model, pool) = (&model.entry.id, self.pool);
            self.plan.warnings.push(format!(
                "model {model} stays on {pool}: a worker goes on serving it"
            ));
        }
        let needs: Vec<ActionId> = base.iter().copied().chain(stops).collect();
        for (model, reason) in removed {
            let (model, bytes) = (model.entry.id.clone(), model.entry.size_bytes);
            self.act(
                ActionKind::Unregister { model, bytes },
                reason.clone(),
                needs.clone(),
            );
        }
    }

    /// Sets memory aside for a worker that starts beside its predecessor: twice its weights, which
    /// covers weights widened to f32, and a quarter of a gigabyte. Says no when that is not known to be there.
    fn take_room(&mut self, device: Device, weights: u64) -> bool {
        let needed = weights.saturating_mul(2).saturating_add(256 << 20);
        match self.available.get_mut(&device) {
            Some(available) if *available >= needed => {
                *available -= needed;
                true
            }
            _ => false,
        }
    }

    fn act(&mut self, kind: ActionKind, reason: Reason, needs: Vec<ActionId>) -> ActionId {
        let id = ActionId(self.plan.actions.len() as u32);
        let pool = self.pool.clone();
        self.plan.actions.push(Action {
            id,
            pool,
            kind,
            reason,
            needs,
        });
        id
    }

    fn block(&mut self, what: &str, why: &str) {
        self.plan.blocked.push(Blocked {
            pool: self.pool.clone(),
            what: what.to_owned(),
            why: why.to_owned(),
        });
    }
}
