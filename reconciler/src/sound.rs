//! Whether each action of a plan says what it relies on, as every plan that is made here does. One that does not was edited
//! by hand.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::facts::About;
use pool_core::name::PoolName;
use pool_core::rpc::Subject;

use crate::plan::{Action, ActionId, ActionKind, Order, Plan};

/// The first action that relies on too little, or on what it has nothing to do with.
pub fn check(plan: &Plan) -> Result<(), String> {
    let installs = |action: &&Action| matches!(action.kind, ActionKind::Install { .. });
    let installed = plan.actions.iter().filter(installs);
    let installed: BTreeSet<&PoolName> = installed.map(|action| &action.pool).collect();
    let paired = paired(plan);
    for action in &plan.actions {
        check_action(plan, action, installed.contains(&action.pool), &paired)
            .map_err(|why| format!("action {} ({}) {why}", action.id, action.kind))?;
    }
    Ok(())
}

/// A pool that gets its programs by the plan may have had none, and then could not say anything.
fn check_action(
    plan: &Plan,
    action: &Action,
    is_installed: bool,
    paired: &BTreeSet<ActionId>,
) -> Result<(), String> {
    let (about, is_needed) = match &action.kind {
        ActionKind::Install { .. } => (Some(About::Programs), true),
        ActionKind::Register { model, .. } => (Some(About::Model(model.clone())), !is_installed),
        ActionKind::Unregister { model, .. } => (Some(About::Model(model.clone())), true),
        ActionKind::Fetch { .. } => (None, false),
        ActionKind::Spawn { spec, replaces, .. } => {
            let Some(address) = &spec.address else {
                return Err("has no address".into());
            };
            if spec.fleet.as_ref() != Some(&plan.fleet) {
                return Err("is for another fleet".into());
            }
            if replaces.is_some() && !paired.contains(&action.id) {
                return Err("replaces what nothing stops".into());
            }
            let is_needed = match replaces {
                Some(Order::StartFirst) => true,
                // What stands there goes by a stop that relies on it.
                Some(Order::StopFirst) => false,
                None => !is_installed,
            };
            (Some(About::Place(address.clone())), is_needed)
        }
        ActionKind::Stop {
            worker, for_spawn, ..
        } => {
            if *for_spawn && !paired.contains(&action.id) {
                return Err("makes place for no spawn".into());
            }
            (Some(About::Worker(worker.clone())), true)
        }
        ActionKind::Update { subject, .. } => {
            let about = match subject {
                Subject::Model(model) => About::Model(model.clone()),
                Subject::Worker(worker) => About::Worker(worker.clone()),
            };
            (Some(about), true)
        }
        ActionKind::Link { .. } => (Some(About::Link), !is_installed),
        ActionKind::Configure { file, .. } => (Some(About::Config(*file)), !is_installed),
        ActionKind::Unlink => (Some(About::Link), true),
        ActionKind::StartOrchestrator { spec, .. } => {
            if spec.fleet != plan.fleet {
                return Err("is for another fleet".into());
            }
            (Some(About::Orchestrator), !is_installed)
        }
        ActionKind::StopOrchestrator => (Some(About::Orchestrator), true),
    };
    let mut facts = action.facts.iter();
    if let Some(other) = facts.find(|fact| Some(&fact.about) != about.as_ref()) {
        return Err(format!("relies on {}", other.about));
    }
    match about {
        Some(about) if is_needed && action.facts.is_empty() => {
            Err(format!("does not rely on {about}"))
        }
        _ => Ok(()),
    }
}

/// The spawns that replace, and the stops that make place for them at the same address of the same pool.
fn paired(plan: &Plan) -> BTreeSet<ActionId> {
    let spawns = plan.actions.iter().filter_map(|action| match &action.kind {
        ActionKind::Spawn {
            spec,
            replaces: Some(_),
            ..
        } => Some(((&action.pool, spec.address.as_ref()?), action)),
        _ => None,
    });
    let spawns: BTreeMap<_, &Action> = spawns.collect();
    let mut paired = BTreeSet::new();
    for stop in &plan.actions {
        if let ActionKind::Stop {
            address: Some(address),
            for_spawn: true,
            ..
        } = &stop.kind
            && let Some(spawn) = spawns.get(&(&stop.pool, address))
            && (spawn.needs.contains(&stop.id) || stop.needs.contains(&spawn.id))
        {
            paired.extend([stop.id, spawn.id]);
        }
    }
    paired
}
