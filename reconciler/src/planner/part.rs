//! The plan of a part of the fleet: what is asked for, with all that it needs.
//!
//! Which actions stay is told from the plan of the whole fleet. The drift without the others is planned again, so what the
//! plan says of sources, memory, outages and turns is of what stays, and every law of a plan holds.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::address::WorkerAddress;
use pool_core::name::{ModelId, PoolName, WorkerId};
use pool_core::orchestrator::ConfigFile;
use pool_core::rpc::Subject;

use super::{Options, plan};
use crate::desired::Desired;
use crate::diff::{
    Binaries, Drift, KnownDrift, LinkDrift, ModelDrift, OrchestratorDrift, PoolDrift, WorkerDrift,
};
use crate::plan::{Action, ActionId, ActionKind, LeftOut, Plan};
use crate::targets::Targets;

/// Plans the whole fleet, and of it what is asked for.
pub fn part(drift: &Drift, desired: &Desired, targets: &Targets, options: Options) -> Plan {
    let whole = plan(drift, options);
    if targets.is_all() {
        return whole;
    }
    let scope = |hopes| Scope {
        desired,
        targets,
        options,
        hopes,
    };
    let (_, mut part) = scope(false).narrow(drift, &whole);
    let blocked = whole.blocked.len().saturating_sub(part.blocked.len());
    if !part.blocked.is_empty() {
        // What is left out may have taken their places; none of those that have one loses it to them.
        let (drift, hoped) = scope(true).narrow(drift, &whole);
        let (_, hoped) = scope(false).narrow(&drift, &hoped);
        if keys(&part.actions).is_subset(&keys(&hoped.actions)) {
            part = hoped;
        }
    }
    let stays = keys(&part.actions);
    let left = |action: &&Action| !stays.contains(&key(action));
    let actions = whole.actions.iter().filter(left).cloned().collect();
    let left_out = LeftOut {
        targets: targets.clone(),
        blocked,
        unknown: whole.unknown.len().saturating_sub(part.unknown.len()),
        totals: Plan { actions, ..whole }.totals(),
    };
    Plan {
        left_out: Some(left_out),
        ..part
    }
}

/// What an action does, in whatever plan it stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Does {
    Install,
    Bring(ModelId),
    Remove(ModelId),
    Spawn(Option<WorkerAddress>),
    Stop(WorkerId),
    UpdateModel(ModelId),
    UpdateWorker(WorkerId),
    Link,
    Unlink,
    Configure(ConfigFile),
    StartOrchestrator,
    StopOrchestrator,
}

type Keys = BTreeSet<(PoolName, Does)>;

fn key(action: &Action) -> (PoolName, Does) {
    let does = match &action.kind {
        ActionKind::Install { .. } => Does::Install,
        ActionKind::Register { model, .. } | ActionKind::Fetch { model, .. } => {
            Does::Bring(model.clone())
        }
        ActionKind::Unregister { model, .. } => Does::Remove(model.clone()),
        ActionKind::Spawn { spec, .. } => Does::Spawn(spec.address.clone()),
        ActionKind::Stop { worker, .. } => Does::Stop(worker.clone()),
        ActionKind::Update { subject, .. } => match subject {
            Subject::Model(model) => Does::UpdateModel(model.clone()),
            Subject::Worker(worker) => Does::UpdateWorker(worker.clone()),
        },
        ActionKind::Link { .. } => Does::Link,
        ActionKind::Unlink => Does::Unlink,
        ActionKind::Configure { file, .. } => Does::Configure(*file),
        ActionKind::StartOrchestrator { .. } => Does::StartOrchestrator,
        ActionKind::StopOrchestrator => Does::StopOrchestrator,
    };
    (action.pool.clone(), does)
}

fn keys(actions: &[Action]) -> Keys {
    actions.iter().map(key).collect()
}

struct Scope<'a> {
    desired: &'a Desired,
    targets: &'a Targets,
    options: Options,
    /// What is asked for and blocked is tried again, else it stays blocked.
    hopes: bool,
}

impl Scope<'_> {
    /// The drift and the plan that are left once all that stays is needed.
    fn narrow(&self, drift: &Drift, plan: &Plan) -> (Drift, Plan) {
        let (mut drift, mut part) = (drift.clone(), plan.clone());
        // With less to be done, less may be needed.
        loop {
            let rest = self.restrict(&drift, &part);
            if rest == drift {
                return (drift, part);
            }
            part = super::plan(&rest, self.options);
            drift = rest;
        }
    }

    /// The drift without what this plan of it does for nothing that is asked for.
    fn restrict(&self, drift: &Drift, plan: &Plan) -> Drift {
        let kept = self.kept(drift, plan);
        let mut pools = BTreeMap::new();
        for (pool, state) in &drift.pools {
            let state = match state {
                PoolDrift::Unknown(_) if !self.targets.may_take_of(pool) => continue,
                PoolDrift::Unknown(unknown) => PoolDrift::Unknown(unknown.clone()),
                PoolDrift::Known(known) => {
                    PoolDrift::Known(Box::new(self.known(pool, known, plan, &kept)))
                }
            };
            pools.insert(pool.clone(), state);
        }
        Drift {
            pools,
            ..drift.clone()
        }
    }

    /// What is asked for, all that it needs, the other half of each replacement, and what serves a model in place of one
    /// that is no longer declared.
    fn kept(&self, drift: &Drift, plan: &Plan) -> Keys {
        let models = models(drift);
        let halves = halves(plan);
        let asked = plan.actions.iter();
        let asked = asked
            .filter(|action| self.is_asked_for(action, &models) || self.hopes_for(action, plan));
        let mut open: Vec<ActionId> = asked.map(|action| action.id).collect();
        let mut ids: BTreeSet<ActionId> = open.iter().copied().collect();
        while let Some(action) = open.pop().and_then(|id| plan.action(id)) {
            let needs = action.needs.iter().filter(|id| {
                let need = plan.action(**id);
                need.is_some_and(|need| is_needed(action, need, &models))
            });
            let halves = halves.get(&action.id).into_iter().flatten();
            let with = links(action, plan).chain(successors(action, plan, &models));
            let with: Vec<ActionId> = needs.chain(halves).copied().chain(with).collect();
            open.extend(with.into_iter().filter(|id| ids.insert(*id)));
        }
        let kept = plan
            .actions
            .iter()
            .filter(|action| ids.contains(&action.id));
        kept.map(key).collect()
    }

    fn is_asked_for(&self, action: &Action, models: &Models) -> bool {
        let served = |worker| models.get(&(&action.pool, worker)).copied();
        let (model, worker) = match &action.kind {
            ActionKind::Register { model, .. }
            | ActionKind::Fetch { model, .. }
            | ActionKind::Unregister { model, .. }
            | ActionKind::Update {
                subject: Subject::Model(model),
                ..
            } => (Some(model), None),
            ActionKind::Spawn { spec, .. } => (Some(&spec.model), spec.address.as_ref()),
            ActionKind::Stop {
                worker, address, ..
            }
            | ActionKind::Update {
                subject: Subject::Worker(worker),
                address,
                ..
            } => (served(worker), address.as_ref()),
            ActionKind::Install { .. }
            | ActionKind::Link { .. }
            | ActionKind::Unlink
            | ActionKind::Configure { .. }
            | ActionKind::StartOrchestrator { .. }
            | ActionKind::StopOrchestrator => (None, None),
        };
        self.targets.take(&action.pool, model, worker)
    }

    /// A worker that is asked for and blocked on its pool would need it, or the room that it makes.
    fn hopes_for(&self, action: &Action, plan: &Plan) -> bool {
        let helps = matches!(
            action.kind,
            ActionKind::Install { .. }
                | ActionKind::Link { .. }
                | ActionKind::Stop {
                    for_spawn: false,
                    ..
                }
        );
        let workers = || {
            self.desired
                .pools
                .get(&action.pool)
                .map(|pool| &pool.workers)
        };
        self.hopes
            && helps
            && workers().into_iter().flatten().any(|(address, worker)| {
                let is_taken = self
                    .targets
                    .take(&action.pool, Some(&worker.model), Some(address));
                is_taken && why(plan, &action.pool, &worker_at(address)).is_some()
            })
    }

    /// What is kept of a pool; what is asked for and blocked stays so, unless there is hope.
    fn known(&self, pool: &PoolName, known: &KnownDrift, plan: &Plan, kept: &Keys) -> KnownDrift {
        let has = |does: Does| kept.contains(&(pool.clone(), does));
        let why = |what: &str| why(plan, pool, what);
        let wanted = self.desired.pools.get(pool);
        let takes = |model: Option<&ModelId>, worker: Option<&WorkerAddress>| {
            self.targets.take(pool, model, worker)
        };
        // The workers that are asked for and serve a model.
        let users = |model: &ModelId| {
            let workers = wanted.into_iter().flat_map(|wanted| &wanted.workers);
            let users = workers.filter(|(_, worker)| worker.model == *model);
            let users = users.map(|(address, _)| address);
            let taken = users.filter(|address| takes(Some(model), Some(address)));
            taken.collect::<Vec<_>>()
        };
        let binaries = match &known.binaries {
            Some(Binaries::Install { .. }) if !has(Does::Install) => None,
            Some(Binaries::NoBuild { .. }) if !self.targets.take_of(pool, self.desired) => None,
            binaries => binaries.clone(),
        };
        let models = known.models.iter().filter_map(|(id, model)| {
            if has(Does::Bring(id.clone())) {
                return Some((id.clone(), model.clone()));
            }
            let users = users(id);
            let is_asked_for = takes(Some(id), None) || !users.is_empty();
            let blocked = is_asked_for.then(|| why(&format!("model {id}"))).flatten();
            let mut users = users.into_iter();
            if self.hopes
                && (blocked.is_some() || users.any(|address| why(&worker_at(address)).is_some()))
            {
                return Some((id.clone(), model.clone()));
            }
            blocked.map(|why| (id.clone(), ModelDrift::Blocked { why }))
        });
        let workers = known.workers.iter().filter_map(|(address, worker)| {
            if has(Does::Spawn(Some(address.clone()))) {
                return Some((address.clone(), worker.clone()));
            }
            let model = wanted.and_then(|wanted| wanted.workers.get(address));
            let model = model.map(|worker| &worker.model);
            let why = takes(model, Some(address)).then(|| why(&worker_at(address)))??;
            let blocked = if self.hopes {
                worker.clone()
            } else {
                WorkerDrift::Blocked { why }
            };
            Some((address.clone(), blocked))
        });
        let updates = known.updates.iter().filter(|update| {
            has(match &update.subject {
                Subject::Model(model) => Does::UpdateModel(model.clone()),
                Subject::Worker(worker) => Does::UpdateWorker(worker.clone()),
            })
        });
        let extra_workers = known.extra_workers.iter();
        let extra_workers =
            extra_workers.filter(|(worker, _)| has(Does::Stop(worker.record.id.clone())));
        // Those that stay are told.
        let extra_models = known.extra_models.iter().filter(|(model, _)| {
            has(Does::Remove(model.entry.id.clone())) || takes(Some(&model.entry.id), None)
        });
        let protected_workers = known.protected_workers.iter().filter(|worker| {
            let spec = &worker.record.spec;
            takes(Some(&spec.model), spec.address.as_ref())
        });
        let protected_models = known.protected_models.iter();
        let protected_models = protected_models.filter(|model| takes(Some(model), None));
        let orchestrator = known.orchestrator.as_ref().and_then(|drift| match drift {
            OrchestratorDrift::Start { .. } if has(Does::StartOrchestrator) => Some(drift.clone()),
            OrchestratorDrift::Stop { .. } if has(Does::StopOrchestrator) => Some(drift.clone()),
            _ => {
                let why = takes(None, None).then(|| why("orchestrator"))??;
                Some(OrchestratorDrift::Blocked { why })
            }
        });
        let link = known.link.clone().filter(|link| match link {
            LinkDrift::Write { .. } => has(Does::Link),
            LinkDrift::Remove { .. } => has(Does::Unlink),
        });
        let configs = known.configs.iter();
        let configs = configs.filter(|config| has(Does::Configure(config.file)));
        let is_touched = kept.iter().any(|(of, _)| of == pool);
        KnownDrift {
            binaries,
            unseen: known.unseen.clone().filter(|_| is_touched),
            models: models.collect(),
            workers: workers.collect(),
            updates: updates.cloned().collect(),
            extra_workers: extra_workers.cloned().collect(),
            extra_models: extra_models.cloned().collect(),
            protected_workers: protected_workers.cloned().collect(),
            protected_models: protected_models.cloned().collect(),
            orchestrator,
            link,
            configs: configs.cloned().collect(),
            ..known.clone()
        }
    }
}

/// How a worker is called where it is blocked.
fn worker_at(address: &WorkerAddress) -> String {
    format!("worker {address}")
}

/// Why a thing of a pool is blocked, where it is.
fn why(plan: &Plan, pool: &PoolName, what: &str) -> Option<String> {
    let mut blocked = plan.blocked.iter();
    let found = blocked.find(|blocked| blocked.pool == *pool && blocked.what == what);
    found.map(|blocked| blocked.why.clone())
}

/// The models of the workers that are there.
type Models<'a> = BTreeMap<(&'a PoolName, &'a WorkerId), &'a ModelId>;

fn models(drift: &Drift) -> Models<'_> {
    let mut models = Models::new();
    for (pool, state) in &drift.pools {
        let PoolDrift::Known(known) = state else {
            continue;
        };
        let running = known.running.iter().map(|(worker, model)| (worker, model));
        let extra = known.extra_workers.iter().map(|(worker, _)| &worker.record);
        let extra = extra.map(|record| (&record.id, &record.spec.model));
        models.extend(
            running
                .chain(extra)
                .map(|(worker, model)| ((pool, worker), model)),
        );
    }
    models
}

/// Whether one action cannot do without another that it comes after. A stop that takes its turn can: what served before
/// the other goes on serving. So can the removal of a model that the other has nothing to do with.
fn is_needed(action: &Action, need: &Action, models: &Models) -> bool {
    match (&action.kind, &need.kind) {
        (
            ActionKind::Stop {
                for_spawn: true,
                address,
                ..
            },
            ActionKind::Spawn { spec, .. },
        ) => spec.address == *address,
        (ActionKind::Unregister { model, .. }, ActionKind::Stop { worker, .. }) => {
            models.get(&(&need.pool, worker)) == Some(&model)
        }
        (ActionKind::Unregister { model, .. }, ActionKind::Spawn { restore, .. }) => {
            restore.as_ref().is_some_and(|spec| spec.model == *model)
        }
        _ => true,
    }
}

/// For each spawn that replaces the stops that make place for it, and for each of these the spawn.
fn halves(plan: &Plan) -> BTreeMap<ActionId, Vec<ActionId>> {
    let spawns = plan.actions.iter().filter_map(|action| match &action.kind {
        ActionKind::Spawn {
            spec,
            replaces: Some(_),
            ..
        } => Some(((&action.pool, spec.address.as_ref()?), action.id)),
        _ => None,
    });
    let spawns: BTreeMap<_, ActionId> = spawns.collect();
    let mut halves: BTreeMap<ActionId, Vec<ActionId>> = BTreeMap::new();
    for stop in &plan.actions {
        if let ActionKind::Stop {
            address: Some(address),
            for_spawn: true,
            ..
        } = &stop.kind
            && let Some(spawn) = spawns.get(&(&stop.pool, address))
        {
            halves.entry(*spawn).or_default().push(stop.id);
            halves.entry(stop.id).or_default().push(*spawn);
        }
    }
    halves
}

/// What has the pool of a spawn know the orchestrator. It is no need, but without it nobody finds the worker.
fn links(action: &Action, plan: &Plan) -> impl Iterator<Item = ActionId> {
    let is_spawn = matches!(action.kind, ActionKind::Spawn { .. });
    let before = action.after.iter().filter_map(|id| plan.action(*id));
    let links =
        before.filter(move |before| is_spawn && matches!(before.kind, ActionKind::Link { .. }));
    links.map(|link| link.id)
}

/// The spawns of the model that an undeclared worker serves which stops: those of its pool, else the first of another.
fn successors(action: &Action, plan: &Plan, models: &Models) -> Vec<ActionId> {
    let ActionKind::Stop {
        worker,
        for_spawn: false,
        ..
    } = &action.kind
    else {
        return Vec::new();
    };
    let Some(model) = models.get(&(&action.pool, worker)) else {
        return Vec::new();
    };
    let spawns = plan.actions.iter().filter(
        |spawn| matches!(&spawn.kind, ActionKind::Spawn { spec, .. } if spec.model == **model),
    );
    let (here, elsewhere): (Vec<&Action>, Vec<&Action>) =
        spawns.partition(|spawn| spawn.pool == action.pool);
    let successors = if here.is_empty() {
        elsewhere.get(..1).unwrap_or_default()
    } else {
        &here[..]
    };
    successors.iter().map(|spawn| spawn.id).collect()
}
