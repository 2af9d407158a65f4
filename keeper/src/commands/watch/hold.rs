//! Workers and orchestrators that do not stay up are started ever more rarely.

use std::collections::BTreeMap;

use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use reconciler::diff::{Drift, OrchestratorDrift, PoolDrift, WorkerDrift};
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::{Action, ActionKind, Blocked, Plan};
use reconciler::reason::Reason;

use super::Watcher;
use super::schedule::{Service, Spawn};

impl Watcher<'_> {
    /// Notes which services are up.
    pub(super) fn settle(&mut self, drift: &Drift, observed: &Observed) {
        let now = self.now();
        let known = observed.pools.values().filter_map(|state| match state {
            PoolState::Known(seen) => Some(seen),
            _ => None,
        });
        let serving = known.flat_map(|seen| &seen.workers);
        let serving = serving.filter(|worker| worker.is_serving());
        for worker in
            serving.filter(|worker| worker.record.spec.fleet.as_ref() == Some(&drift.fleet))
        {
            if let Some(address) = &worker.record.spec.address {
                self.schedule.serves(&Service::Worker(address.clone()), now);
            }
        }
        if let Some(pool) = &drift.orchestrator
            && let Some(PoolDrift::Known(known)) = drift.pools.get(pool)
            && known.orchestrator.is_none()
        {
            let orchestrator = Service::Orchestrator(pool.clone());
            self.schedule.serves(&orchestrator, now);
        }
    }

    /// Blocks what was started too lately.
    pub(super) fn hold(&mut self, drift: &mut Drift) -> Vec<Blocked> {
        let mut held = Vec::new();
        let mut block = |pool: &PoolName, service: &Service, why: &str| {
            held.push(Blocked {
                pool: pool.clone(),
                what: service.to_string(),
                why: why.to_owned(),
            });
        };
        for (pool, drift) in &mut drift.pools {
            let PoolDrift::Known(known) = drift else {
                continue;
            };
            for (address, worker) in &mut known.workers {
                let WorkerDrift::Spawn { spec, reason, .. } = worker else {
                    continue;
                };
                let service = Service::Worker(address.clone());
                if let Some(why) = self.too_early(&service, spec.hash(), reason) {
                    block(pool, &service, &why);
                    *worker = WorkerDrift::Blocked { why };
                }
            }
            let Some(OrchestratorDrift::Start { spec, reason, .. }) = &known.orchestrator else {
                continue;
            };
            let service = Service::Orchestrator(pool.clone());
            if !known.configs.is_empty() {
                self.schedule.changed(&service);
            }
            if let Some(why) = self.too_early(&service, spec.hash(), reason) {
                block(pool, &service, &why);
                known.orchestrator = Some(OrchestratorDrift::Blocked { why });
            }
        }
        held
    }

    /// Why a service is not started now, where it is not.
    fn too_early(&mut self, service: &Service, spec: Sha256, reason: &Reason) -> Option<String> {
        let now = self.now();
        match self.schedule.may_spawn(service, spec, now) {
            Spawn::Now => None,
            Spawn::Later(until) => {
                // Times since the watch began are no longer than it runs.
                let until = self.begun.1.saturating_add(until).unwrap_or(self.begun.1);
                Some(format!(
                    "{reason}; it did not stay up, and is held back until {until:.0}"
                ))
            }
        }
    }
}

/// What a plan starts, and as what.
pub(super) fn spawns(plan: &Plan) -> BTreeMap<Service, Sha256> {
    let start = |action: &Action| match &action.kind {
        ActionKind::Spawn { spec, .. } => {
            Some((Service::Worker(spec.address.clone()?), spec.hash()))
        }
        ActionKind::StartOrchestrator { spec, .. } => {
            Some((Service::Orchestrator(action.pool.clone()), spec.hash()))
        }
        _ => None,
    };
    plan.actions.iter().filter_map(start).collect()
}
