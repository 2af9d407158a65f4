//! Which models nobody serves for a while, and how replacements are put in order so that few are.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::name::{ModelId, PoolName, WorkerId};

use crate::diff::{Drift, PoolDrift, Serving, WorkerDrift};
use crate::plan::{ActionId, ActionKind, Order, Outage, Plan};

/// The workers that serve now, by pool and id.
type Workers<'a> = BTreeMap<(&'a PoolName, &'a WorkerId), &'a Serving>;

/// Has the workers of one model that must stop first replaced one after another, and tells which models nobody serves
/// at some moment of an order in which the plan can be carried out.
pub(super) fn tell(plan: &mut Plan, drift: &Drift) {
    let is_stop = |kind: &ActionKind| matches!(kind, ActionKind::Stop { .. });
    if !plan.actions.iter().any(|action| is_stop(&action.kind)) {
        return;
    }
    let workers = workers(drift);
    take_turns(plan, &workers);
    plan.outages = outages(plan, drift, &workers);
    warn(plan, &workers);
}

fn workers(drift: &Drift) -> Workers<'_> {
    let known = drift.pools.iter().filter_map(|(pool, drift)| match drift {
        PoolDrift::Known(known) => Some((pool, known)),
        PoolDrift::Unknown(_) => None,
    });
    let serving = known.flat_map(|(pool, known)| {
        let serving = known.serving.iter();
        serving.map(move |serving| ((pool, &serving.worker), serving))
    });
    serving.collect()
}

/// A serving worker stops for its replacement once the replacement before it serves the same model.
fn take_turns(plan: &mut Plan, workers: &Workers) {
    let mut last: BTreeMap<&ModelId, ActionId> = BTreeMap::new();
    // What stops for the next spawn that stops first.
    let mut stopping: BTreeSet<&ModelId> = BTreeSet::new();
    let mut start_first: BTreeSet<ActionId> = BTreeSet::new();
    for action in &mut plan.actions {
        match &action.kind {
            ActionKind::Stop {
                worker,
                for_spawn: true,
                ..
            } => {
                let Some(serving) = workers.get(&(&action.pool, worker)) else {
                    continue;
                };
                if action.needs.iter().any(|id| start_first.contains(id)) {
                    continue;
                }
                action.needs.extend(last.get(&serving.model));
                stopping.insert(&serving.model);
            }
            ActionKind::Spawn {
                spec,
                replaces: Some(Order::StopFirst),
                ..
            } => {
                if let Some(model) = stopping.take(&spec.model) {
                    last.insert(model, action.id);
                }
                stopping.clear();
            }
            ActionKind::Spawn {
                replaces: Some(Order::StartFirst),
                ..
            } => {
                start_first.insert(action.id);
            }
            _ => {}
        }
    }
}

/// Nobody serves a model at some moment when all that serve it stop, and none of these stops waits for a worker that
/// serves it from then on.
fn outages(plan: &Plan, drift: &Drift, workers: &Workers) -> Vec<Outage> {
    let mut serving: BTreeMap<&ModelId, usize> = BTreeMap::new();
    for worker in workers.values() {
        *serving.entry(&worker.model).or_default() += 1;
    }
    let mut stops: BTreeMap<&ModelId, Vec<(ActionId, &Serving)>> = BTreeMap::new();
    for action in &plan.actions {
        if let ActionKind::Stop { worker, .. } = &action.kind
            && let Some(stopped) = workers.get(&(&action.pool, worker))
        {
            let of_model = stops.entry(&stopped.model).or_default();
            of_model.push((action.id, stopped));
        }
    }
    let mut outages = Vec::new();
    for (model, stops) in stops {
        let Some(max_ms) = drift.declared.get(model) else {
            continue;
        };
        let goes_on = serving.get(model) != Some(&stops.len());
        if goes_on || waits_for_a_spawn(plan, model, &stops) {
            continue;
        }
        let mut down: Vec<_> = stops.iter().map(|(_, worker)| worker.address.clone()).collect();
        down.sort_unstable();
        down.dedup();
        outages.push(Outage {
            model: model.clone(),
            workers: down,
            ms: stops.iter().find_map(|(_, worker)| load_ms(drift, worker)),
            max_ms: *max_ms,
        });
    }
    outages
}

/// Something that one of the stops needs or waits for starts a worker of the model.
fn waits_for_a_spawn(plan: &Plan, model: &ModelId, stops: &[(ActionId, &Serving)]) -> bool {
    let mut seen: BTreeSet<ActionId> = BTreeSet::new();
    let mut open: Vec<ActionId> = stops.iter().map(|(id, _)| *id).collect();
    while let Some(action) = open.pop().and_then(|id| plan.action(id)) {
        if matches!(&action.kind, ActionKind::Spawn { spec, .. } if spec.model == *model) {
            return true;
        }
        let before = action.needs.iter().chain(&action.after);
        open.extend(before.filter(|id| seen.insert(**id)));
    }
    false
}

/// How long the worker that takes the place of this one and serves the same model takes to load.
fn load_ms(drift: &Drift, worker: &Serving) -> Option<u64> {
    let PoolDrift::Known(known) = drift.pools.get(&worker.address.pool)? else {
        return None;
    };
    match known.workers.get(&worker.address)? {
        WorkerDrift::Spawn { spec, old, .. } if spec.model == worker.model => {
            let old = old.iter().find(|old| old.id == worker.worker)?;
            old.load_ms
        }
        _ => None,
    }
}

/// Says which workers are down while others serve their model.
fn warn(plan: &mut Plan, workers: &Workers) {
    let told: BTreeSet<_> = plan.outages.iter().flat_map(|outage| &outage.workers).collect();
    let mut waits_for: BTreeMap<ActionId, &Serving> = BTreeMap::new();
    let mut warnings = Vec::new();
    for action in &plan.actions {
        match &action.kind {
            ActionKind::Stop {
                worker,
                for_spawn: true,
                ..
            } => {
                if let Some(serving) = workers.get(&(&action.pool, worker)) {
                    waits_for.insert(action.id, serving);
                }
            }
            ActionKind::Spawn {
                spec,
                replaces: Some(Order::StopFirst),
                ..
            } => {
                let mut stops = action.needs.iter().filter_map(|id| waits_for.get(id));
                let down = stops.find(|down| spec.address.as_ref() == Some(&down.address));
                warnings.extend(down.filter(|down| !told.contains(&down.address)).map(|down| {
                    format!(
                        "{} is down while it is replaced: there is no memory for both",
                        down.address
                    )
                }));
            }
            _ => {}
        }
    }
    plan.warnings.extend(warnings);
}
