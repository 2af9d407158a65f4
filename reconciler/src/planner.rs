//! From a drift to the plan that removes it.
//!
//! Invariants, held for every drift: an action needs and waits for only earlier ones; no action
//! names a pool whose state is unknown; what is stopped for a replacement is stopped after everything
//! that the replacement needs was brought; the hub gives each content once; a content is removed from
//! a pool after the fetches that take it there.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::name::{ModelId, PoolName};
use pool_core::worker::WorkerSpec;

use crate::diff::{Binaries, Drift, KnownDrift, OldWorker, PoolDrift, WorkerDrift};
use crate::plan::{Action, ActionId, ActionKind, Bill, Blocked, Order, Plan, UnknownPool};
use crate::reason::Reason;
use crate::suppliers::Suppliers;

mod models;
mod prune;

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
        bills: BTreeMap::new(),
    };
    let mut suppliers = Suppliers::new(drift);
    for (pool, drift) in &drift.pools {
        match drift {
            PoolDrift::Unknown(unknown) => plan.unknown.push(UnknownPool {
                pool: pool.clone(),
                unknown: unknown.clone(),
            }),
            PoolDrift::Known(drift) => {
                PoolPlanner::new(&mut plan, &mut suppliers, pool, drift).run();
            }
        }
    }
    // Last of all: another pool may take what one no longer needs.
    for (pool, drift) in &drift.pools {
        let PoolDrift::Known(drift) = drift else {
            continue;
        };
        let mut last = PoolPlanner::new(&mut plan, &mut suppliers, pool, drift);
        if options.prune_models {
            last.prune();
        } else {
            last.leave();
        }
    }
    plan
}

struct PoolPlanner<'a, 'p> {
    plan: &'p mut Plan,
    suppliers: &'p mut Suppliers<'a>,
    pool: &'a PoolName,
    drift: &'a KnownDrift,
    /// Memory left for workers that start while the old ones run.
    available: BTreeMap<Device, u64>,
    /// The last action that brings a model.
    brought: BTreeMap<&'a ModelId, ActionId>,
    /// Models that cannot be brought.
    blocked: BTreeSet<&'a ModelId>,
    /// Contents that are counted, and the fetch that brings or checks those that are not whole.
    seen: BTreeMap<Sha256, Option<ActionId>>,
    bill: Bill,
}

impl<'a, 'p> PoolPlanner<'a, 'p> {
    fn new(
        plan: &'p mut Plan,
        suppliers: &'p mut Suppliers<'a>,
        pool: &'a PoolName,
        drift: &'a KnownDrift,
    ) -> Self {
        Self {
            plan,
            suppliers,
            pool,
            drift,
            available: drift.available.clone(),
            brought: BTreeMap::new(),
            blocked: BTreeSet::new(),
            seen: BTreeMap::new(),
            bill: Bill::default(),
        }
    }

    fn run(mut self) {
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
    }

    /// Returns, for each spawn, its model and its action.
    fn workers(&mut self, base: &[ActionId]) -> Vec<(ModelId, ActionId)> {
        let mut spawned = Vec::new();
        for (address, worker) in &self.drift.workers {
            let what = format!("worker {address}");
            match worker {
                WorkerDrift::Blocked { why } => self.block(&what, why),
                WorkerDrift::Spawn { spec, .. } if self.blocked.contains(&spec.model) => {
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
        self.act_after(kind, reason, needs, Vec::new())
    }

    fn act_after(
        &mut self,
        kind: ActionKind,
        reason: Reason,
        needs: Vec<ActionId>,
        after: Vec<ActionId>,
    ) -> ActionId {
        let id = self.next();
        self.plan.actions.push(Action {
            id,
            pool: self.pool.clone(),
            kind,
            reason,
            needs,
            after,
        });
        id
    }

    /// The next action of the plan.
    fn next(&self) -> ActionId {
        ActionId(self.plan.actions.len() as u32)
    }

    fn block(&mut self, what: &str, why: &str) {
        self.plan.blocked.push(Blocked {
            pool: self.pool.clone(),
            what: what.to_owned(),
            why: why.to_owned(),
        });
    }
}
