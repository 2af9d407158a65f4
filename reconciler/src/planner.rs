//! From a drift to the plan that removes it.
//!
//! Invariants, held for every drift: an action needs and waits for only earlier ones; no action
//! names a pool whose state is unknown; what is stopped for a replacement is stopped after everything
//! that the replacement needs was brought; workers fit the memory of their device at every moment; the hub gives each content once; a content is removed from
//! a pool after the fetches that take it there.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::name::{ModelId, PoolName, WorkerId};

use crate::diff::{Binaries, Drift, KnownDrift, PoolDrift};
use crate::plan::{Action, ActionId, ActionKind, Bill, Blocked, Plan, UnknownPool};
use crate::reason::Reason;
use crate::suppliers::Suppliers;

mod models;
mod prune;
mod room;
mod workers;

use room::Room;

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
        outages: Vec::new(),
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
    /// The memory of each device, where it is known.
    room: BTreeMap<Device, Room>,
    /// The undeclared workers that the plan stops already.
    stopped: BTreeSet<&'a WorkerId>,
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
            room: drift
                .available
                .iter()
                .map(|(device, free)| (*device, Room::new(*free)))
                .collect(),
            stopped: BTreeSet::new(),
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
            facts: Vec::new(),
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
