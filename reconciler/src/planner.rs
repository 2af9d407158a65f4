//! From a drift to the plan that removes it.
//!
//! Invariants, held for every drift: an action needs and waits for only earlier ones; no action
//! names a pool whose state is unknown; what is protected is stopped for its own replacement alone; what is stopped for a replacement is stopped after everything
//! that the replacement needs was brought; an orchestrator stops when its successor is ready; workers fit the memory of their device at every moment; the hub gives each content once; a content is removed from
//! a pool after the fetches that take it there.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::facts::{About, Fact};
use pool_core::name::{ModelId, PoolName, WorkerId};
use pool_core::rpc::Subject;

use crate::desired::Purpose;
use crate::diff::{Binaries, Drift, KnownDrift, PoolDrift};
use crate::plan::{Action, ActionId, ActionKind, Bill, Blocked, Plan, UnknownPool};
use crate::reason::{FieldChange, Reason};
use crate::suppliers::Suppliers;

mod disk;
mod models;
mod orchestrators;
mod outages;
mod part;
mod prune;
mod room;
mod workers;

pub use part::part;

use orchestrators::Leave;
use prune::Done;
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
        warnings: drift.warnings.clone(),
        outages: Vec::new(),
        bills: BTreeMap::new(),
        left_out: None,
    };
    let mut suppliers = Suppliers::new(drift);
    let mut spawned = BTreeMap::new();
    let mut known = Vec::new();
    for (pool, drift) in &drift.pools {
        match drift {
            PoolDrift::Unknown(unknown) => plan.unknown.push(UnknownPool {
                pool: pool.clone(),
                unknown: unknown.clone(),
            }),
            PoolDrift::Known(drift) => {
                let mut planner = PoolPlanner::new(&mut plan, &mut suppliers, pool, drift);
                known.extend(planner.install().map(|base| (pool, (&**drift, base))));
            }
        }
    }
    let known: BTreeMap<&PoolName, (&KnownDrift, Vec<ActionId>)> = known.into_iter().collect();
    // Workers and orchestrator know each other from the start.
    let mut links = BTreeMap::new();
    for pool in orchestrators::linked(drift) {
        if let Some((drift, base)) = known.get(pool) {
            let mut planner = PoolPlanner::new(&mut plan, &mut suppliers, pool, drift);
            let link = planner.next();
            planner.link(base, &links);
            links.insert(pool.clone(), link);
        }
    }
    let mut started = None;
    for (pool, (drift, base)) in &known {
        let mut planner = PoolPlanner::new(&mut plan, &mut suppliers, pool, drift);
        started = planner
            .orchestrator(base, links.get(*pool).copied())
            .or(started);
    }
    let mut surplus = Vec::new();
    for (pool, (drift, base)) in &known {
        let planner = PoolPlanner::new(&mut plan, &mut suppliers, pool, drift);
        let link = links.get(*pool).copied();
        let rest = planner.run(base, link, &mut spawned);
        surplus.extend(rest.map(|rest| (*pool, *drift, rest)));
    }
    // A model may have moved to a pool that comes later.
    for (pool, known, rest) in surplus {
        let planner = PoolPlanner::new(&mut plan, &mut suppliers, pool, known);
        planner.stops(rest, &spawned);
    }
    outages::tell(&mut plan, drift);
    // Last of all: another pool may take what one no longer needs.
    let mut done = None;
    for (pool, known) in &drift.pools {
        let PoolDrift::Known(known) = known else {
            continue;
        };
        if known.extra_models.is_empty() && known.protected_models.is_empty() {
            continue;
        }
        let last = PoolPlanner::new(&mut plan, &mut suppliers, pool, known);
        if options.prune_models {
            let done = done.get_or_insert_with(|| Done::of(last.plan, drift));
            last.prune(done.get(pool));
        } else {
            last.leave();
        }
    }
    let leave = Leave::of(drift, started);
    for (pool, (drift, base)) in &known {
        let last = PoolPlanner::new(&mut plan, &mut suppliers, pool, drift);
        last.leave_orchestrator(base, &leave);
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
    /// Models that are not brought, because no worker that serves them has a place.
    idle: BTreeSet<&'a ModelId>,
    /// Contents that are counted, and the fetch that brings or checks those that are not whole.
    seen: BTreeMap<Sha256, Option<ActionId>>,
    bill: Bill,
}

/// What the stops of a pool go by.
struct Rest<'a> {
    /// See [`PoolPlanner::install`].
    base: Vec<ActionId>,
    /// The spawns there, by their models.
    spawned: Vec<(ModelId, ActionId)>,
    /// The undeclared workers that are stopped already.
    stopped: BTreeSet<&'a WorkerId>,
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
            idle: BTreeSet::new(),
            seen: BTreeMap::new(),
            bill: Bill::default(),
        }
    }

    /// What has to be done before anything else. None where nothing can be done.
    fn install(&mut self) -> Option<Vec<ActionId>> {
        let install = match &self.drift.binaries {
            None => None,
            Some(Binaries::NoBuild { why }) => {
                self.block("rbee", why);
                return None;
            }
            Some(Binaries::Install {
                target,
                from,
                to,
                reason,
            }) => {
                let (target, from, to) = (target.clone(), *from, *to);
                let kind = ActionKind::Install { target, from, to };
                let id = self.act(kind, reason.clone(), Vec::new(), Vec::new());
                let (about, was) = (About::Programs, from);
                self.plan.actions[id.0 as usize].facts = vec![Fact { about, was }];
                Some(id)
            }
        };
        if let Some(cause) = &self.drift.unseen {
            let pool = self.pool;
            self.plan.warnings.push(format!("what runs on {pool} is not known until its hive does ({cause}): plan again after this one"));
        }
        Some(install.into_iter().collect())
    }

    /// Models and workers, but for the stops of what is not declared: those are left, where the pool has any. Adds the first
    /// spawn of each model.
    fn run(
        mut self,
        base: &[ActionId],
        link: Option<ActionId>,
        spawns: &mut BTreeMap<ModelId, ActionId>,
    ) -> Option<Rest<'a>> {
        self.choose_models();
        self.models(base);
        let spawned = self.workers(base);
        for (_, id) in &spawned {
            self.plan.actions[id.0 as usize].after.extend(link);
        }
        self.updates(base);
        for (model, id) in &spawned {
            spawns.entry(model.clone()).or_insert(*id);
        }
        let has_rest =
            !self.drift.extra_workers.is_empty() || !self.drift.protected_workers.is_empty();
        has_rest.then_some(Rest {
            base: base.to_vec(),
            spawned,
            stopped: self.stopped,
        })
    }

    /// Decides which models are brought: those that the disk has room for and that a worker serves.
    fn choose_models(&mut self) {
        loop {
            self.short_of_disk();
            let unserved = self.unserved();
            if unserved.is_empty() {
                return;
            }
            self.idle.extend(unserved);
        }
    }

    /// Changes in place what stays as it is; what is brought anew is kept as it should be from the start.
    fn updates(&mut self, base: &[ActionId]) {
        for update in &self.drift.updates {
            let about = match &update.subject {
                Subject::Model(model) if self.brought.contains_key(model) => continue,
                Subject::Model(model) => About::Model(model.clone()),
                Subject::Worker(worker) => About::Worker(worker.clone()),
            };
            let kind = ActionKind::Update {
                subject: update.subject.clone(),
                address: update.address.clone(),
                protect: update.protect,
            };
            let field = FieldChange {
                field: "protect".into(),
                from: (!update.protect).to_string(),
                to: update.protect.to_string(),
            };
            let reason = Reason::Changed {
                fields: vec![field],
            };
            let facts = self.fact(about, Some(update.was));
            self.act(kind, reason, base.to_vec(), facts);
        }
    }

    /// What an action relies on; nothing where no hive runs that could have told.
    fn fact(&self, about: About, was: Option<Sha256>) -> Vec<Fact> {
        if self.drift.is_bare {
            return Vec::new();
        }
        vec![Fact { about, was }]
    }

    fn act(
        &mut self,
        kind: ActionKind,
        reason: Reason,
        needs: Vec<ActionId>,
        facts: Vec<Fact>,
    ) -> ActionId {
        let id = self.next();
        self.plan.actions.push(Action {
            id,
            pool: self.pool.clone(),
            kind,
            reason,
            needs,
            after: Vec::new(),
            facts,
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

    fn block_protected(&mut self, what: &str) {
        self.block(
            what,
            match self.drift.purpose {
                Purpose::Apply => {
                    "it is protected: put it back with `protect: false`, apply, then delete it"
                }
                Purpose::Destroy => {
                    "it is protected: apply it with `protect: false`, then destroy the fleet"
                }
            },
        );
    }
}
