//! The orchestrator against the process of the fleet's on the pool.

use std::collections::BTreeMap;

use pool_core::digest::Sha256;
use pool_core::facts;
use pool_core::observation::ObservedOrchestrator;
use pool_core::orchestrator::{ConfigFile, OrchestratorSpec, Settings};
use pool_core::worker::WorkerState;

use super::{ConfigDrift, OrchestratorDrift};
use crate::desired::{Desired, DesiredPool};
use crate::reason::{FieldChange, Reason};

/// `build` is the one that is installed there once the plan is carried out, where there is one.
pub(super) fn diff_orchestrator(
    desired: &Desired,
    pool: &DesiredPool,
    seen: &[ObservedOrchestrator],
    build: Option<Sha256>,
) -> Option<OrchestratorDrift> {
    let is_ours = |seen: &&ObservedOrchestrator| seen.record.spec.fleet == desired.fleet;
    let ours = seen.iter().find(is_ours);
    let was = ours.map(|ours| facts::orchestrator(&ours.record));
    let Some(spec) = &pool.orchestrator else {
        return was.map(|was| OrchestratorDrift::Stop {
            reason: match desired.home {
                Some(_) => Reason::Replaced,
                None => desired.gone(),
            },
            was,
        });
    };
    let reason = match ours {
        None => Reason::NotThere,
        Some(ours) => why_wrong(ours, spec, build)?,
    };
    let is_in_the_way =
        |other: &&ObservedOrchestrator| other.alive && other.record.spec.is_in_the_way_of(spec);
    let mut others = seen.iter().filter(|seen| !is_ours(seen));
    if let Some(other) = others.find(is_in_the_way) {
        let (listen, fleet) = (spec.listen, &other.record.spec.fleet);
        let why = format!("{listen} is taken by the orchestrator of fleet {fleet}");
        return Some(OrchestratorDrift::Blocked { why });
    }
    let is_alive = ours.is_some_and(|ours| ours.alive);
    Some(OrchestratorDrift::Start {
        spec: Box::new(spec.clone()),
        replaces: is_alive && reason != Reason::StillStarting,
        reason,
        was,
    })
}

/// `seen` are the digests of those that are there.
pub(super) fn diff_configs(
    pool: &DesiredPool,
    seen: Option<&BTreeMap<ConfigFile, Sha256>>,
) -> Vec<ConfigDrift> {
    let drifts = pool.configs.iter().map(|(file, wanted)| ConfigDrift {
        file: *file,
        wanted: wanted.clone(),
        was: seen.and_then(|seen| seen.get(file).copied()),
    });
    drifts
        .filter(|drift| drift.was != Some(drift.wanted.digest))
        .collect()
}

impl ConfigDrift {
    pub fn reason(&self) -> Reason {
        let Some(was) = self.was else {
            return Reason::NotThere;
        };
        let field = FieldChange {
            field: "content".into(),
            from: was.short(),
            to: self.wanted.digest.short(),
        };
        Reason::Changed {
            fields: vec![field],
        }
    }
}

/// None of one that is as it should be.
fn why_wrong(
    ours: &ObservedOrchestrator,
    spec: &OrchestratorSpec,
    build: Option<Sha256>,
) -> Option<Reason> {
    let record = &ours.record;
    if record.spec_hash != spec.hash() {
        let fields = changed_fields(&record.spec, spec);
        return Some(Reason::Changed { fields });
    }
    if ours.alive && build.is_some() && ours.build != build {
        return Some(Reason::OtherBuild);
    }
    match (ours.alive, record.state, &record.failure) {
        (true, WorkerState::Starting, _) => Some(Reason::StillStarting),
        (false, WorkerState::Failed, Some(cause)) => Some(Reason::Failed {
            cause: cause.clone(),
        }),
        (false, ..) => Some(Reason::Died),
        (true, ..) => (!ours.is_serving()).then_some(Reason::NotAnswering),
    }
}

fn changed_fields(from: &OrchestratorSpec, to: &OrchestratorSpec) -> Vec<FieldChange> {
    let words = |spec: &OrchestratorSpec| {
        let Settings {
            store,
            scheduling,
            queue,
            when_full,
        } = spec.settings;
        let given = |file| {
            let is_given = spec.files.contains(&file);
            if is_given { "a file" } else { "none" }.to_owned()
        };
        [
            ("listen", spec.listen.to_string()),
            ("store", store.to_string()),
            ("scheduling", scheduling.to_string()),
            ("queue", queue.to_string()),
            ("when_full", when_full.to_string()),
            ("supervise", spec.supervise.to_string()),
            ("tenants", given(ConfigFile::Tenants)),
            ("policy", given(ConfigFile::Policy)),
        ]
    };
    let pairs = words(from).into_iter().zip(words(to));
    let changed = pairs.filter(|((_, from), (_, to))| from != to);
    changed
        .map(|((field, from), (_, to))| FieldChange {
            field: field.into(),
            from,
            to,
        })
        .collect()
}
