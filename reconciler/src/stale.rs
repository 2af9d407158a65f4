//! Whether what a saved plan relied on is still so.

use std::collections::BTreeMap;

use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::facts::{self, About, Fact};
use pool_core::name::{FleetName, PoolName};
use pool_core::observation::PoolObservation;
use pool_core::units;

use crate::diff::Seen;
use crate::observed::{Observed, PoolState, Unknown};
use crate::plan::{Action, ActionId, ActionKind, Fit, Plan, UnknownPool};

/// An action whose ground has changed since the plan was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stale {
    pub action: ActionId,
    pub pool: PoolName,
    /// The thing that is another one now; none where the memory of the device is.
    pub about: Option<About>,
    /// What changed, for people.
    pub text: String,
}

/// The actions of a plan whose facts are no longer so, or whose worker no longer fits beside what runs there. Of pools
/// that are unknown see [`unknown`].
pub fn stale(plan: &Plan, observed: &Observed) -> Vec<Stale> {
    let mut stale = Vec::new();
    let mut rooms: BTreeMap<&PoolName, BTreeMap<Device, u64>> = BTreeMap::new();
    for action in &plan.actions {
        let Some(state) = observed.pools.get(&action.pool) else {
            continue;
        };
        let mut found = |about: Option<&About>, text: String| {
            stale.push(Stale {
                action: action.id,
                pool: action.pool.clone(),
                about: about.cloned(),
                text,
            });
        };
        for fact in &action.facts {
            if let Some(change) = change(fact, state, &plan.fleet) {
                let (about, pool) = (&fact.about, &action.pool);
                found(Some(about), format!("{about} on {pool} {change}"));
            }
        }
        if let PoolState::Known(seen) = state {
            let room = rooms.entry(&action.pool).or_insert_with(|| free(seen));
            if let Some(text) = crowded(action, seen, room) {
                found(None, text);
            }
        }
    }
    stale
}

/// The pools that actions of the plan name and of which nothing is known now.
pub fn unknown(plan: &Plan, observed: &Observed) -> Vec<UnknownPool> {
    let mut pools = BTreeMap::new();
    for action in &plan.actions {
        let unknown = match observed.pools.get(&action.pool) {
            Some(PoolState::Unknown(unknown)) => unknown.clone(),
            Some(_) => continue,
            None => Unknown {
                unreachable: true,
                cause: "it was not asked".into(),
                help: None,
            },
        };
        pools.entry(&action.pool).or_insert(unknown);
    }
    let pools = pools.into_iter().map(|(pool, unknown)| UnknownPool {
        pool: pool.clone(),
        unknown,
    });
    pools.collect()
}

/// How a fact differs from what is, if it does.
fn change(fact: &Fact, state: &PoolState, fleet: &FleetName) -> Option<&'static str> {
    let is = match state {
        PoolState::Known(seen) => fingerprint(&fact.about, seen, fleet),
        PoolState::Bare(bare) if fact.about == About::Programs => bare.installed,
        PoolState::Bare(_) => return Some("cannot be seen: no hive runs there"),
        PoolState::Unknown(_) => return None,
    };
    match (fact.was, is) {
        (was, is) if was == is => None,
        (Some(_), Some(_)) => Some("changed since the plan was made"),
        (Some(_), None) => Some("went since the plan was made"),
        (None, _) => Some("came since the plan was made"),
    }
}

fn fingerprint(about: &About, seen: &PoolObservation, fleet: &FleetName) -> Option<Sha256> {
    match about {
        About::Programs => seen.build,
        About::Model(id) => {
            let mut models = seen.models.iter();
            let model = models.find(|model| model.entry.id == *id)?;
            Some(facts::model(&model.entry))
        }
        About::Place(address) => {
            let records = seen.workers.iter().map(|worker| &worker.record);
            facts::place(fleet, address, records)
        }
        About::Worker(id) => {
            let mut workers = seen.workers.iter();
            let worker = workers.find(|worker| worker.record.id == *id)?;
            Some(facts::worker(&worker.record))
        }
        About::Orchestrator => {
            let mut all = seen.orchestrators.iter().map(|seen| &seen.record);
            let record = all.find(|record| record.spec.fleet == *fleet)?;
            Some(facts::orchestrator(record))
        }
        About::Config(file) => seen.configs.get(fleet)?.get(file).copied(),
        About::Link => seen.links.get(fleet).map(facts::link),
    }
}

/// What is free of each device.
fn free(seen: &PoolObservation) -> BTreeMap<Device, u64> {
    let devices = seen.devices.iter();
    devices
        .map(|info| (info.device, info.memory.available))
        .collect()
}

/// Takes what a spawn needs from its device and gives back what a stop frees, in the order of the plan. Says so where
/// a worker does not fit.
fn crowded(
    action: &Action,
    seen: &PoolObservation,
    room: &mut BTreeMap<Device, u64>,
) -> Option<String> {
    match &action.kind {
        ActionKind::Stop { worker, .. } => {
            let mut workers = seen.workers.iter();
            let stopped = workers.find(|seen| seen.record.id == *worker && seen.alive)?;
            let free = room.get_mut(&stopped.record.spec.device)?;
            let held = Seen::of(seen).held(stopped).unwrap_or_default();
            *free = free.saturating_add(held);
            None
        }
        ActionKind::Spawn {
            spec,
            fit: Some(Fit { bytes, .. }),
            ..
        } => {
            let (pool, device) = (&action.pool, spec.device);
            let Some(free) = room.get_mut(&device) else {
                return Some(format!("{pool} has no device {device} any more"));
            };
            if let Some(left) = free.checked_sub(*bytes) {
                *free = left;
                return None;
            }
            let (needs, left) = (units::bytes(*bytes), units::bytes(*free));
            let worker = &action.kind;
            Some(format!(
                "{worker} needs {needs}, {pool}/{device} has {left} now"
            ))
        }
        _ => None,
    }
}
