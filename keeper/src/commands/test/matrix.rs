//! The workers that exist only for the matrix: spawned for their cells, and stopped.
//!
//! They are brought by plans of their own, made as if the fleet had nothing else: what else differs from fleet.yaml is not this
//! command's business. A run that was killed leaves them behind; the next `rbee test`, and every `rbee apply`, stops them.

use std::cell::Cell;
use std::collections::BTreeSet;

use pool_core::address::WorkerAddress;
use pool_core::name::{FleetName, ModelId, PoolName};
use pool_core::observation::{ObservedWorker, PoolObservation};
use pool_core::supply::HubAccess;
use reconciler::desired::{Desired, DesiredLink, DesiredPool};
use reconciler::diff::diff;
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::{Action, ActionKind, Plan};
use reconciler::planner::{Options, plan};

use super::screen::{self, Screen};
use crate::apply::{Apply, Status};
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::pools::Pools;
use crate::progress::Output;
use crate::terminal::Terminal;
use crate::transport::Bundles;

/// What brings and stops ephemeral workers.
pub struct Matrix<'a> {
    pub file: &'a FleetFile,
    pub leases: &'a Leases,
    pub bundles: &'a Bundles,
    pub terminal: Terminal,
    pub output: Output,
    /// What may still come from the hub.
    pub allowed: Cell<Option<u64>>,
}

/// What could not be done.
#[derive(Debug, Clone)]
pub struct Undone {
    pub pool: PoolName,
    /// Such as `spawn chat/here/cpu/0`.
    pub what: String,
    pub why: String,
    /// The worker that was started and did not become ready.
    pub failed: Option<WorkerAddress>,
    pub unreachable: bool,
}

impl Matrix<'_> {
    /// Makes the ephemeral workers be those of `desired`, and asks the pools again. Returns what could not be done.
    pub async fn bring(
        &self,
        desired: &Desired,
        pools: &mut Pools,
        interrupt: &Interrupt,
        screen: Option<&Screen>,
    ) -> Result<Vec<Undone>, Failure> {
        let plan = plan_for(desired, &pools.observed);
        let blocked = plan.blocked.iter().map(|blocked| Undone {
            pool: blocked.pool.clone(),
            what: blocked.what.clone(),
            why: blocked.why.clone(),
            failed: None,
            unreachable: false,
        });
        let mut undone: Vec<Undone> = blocked.collect();
        if plan.is_empty() {
            return Ok(undone);
        }
        let max_download = self.allowed.get();
        check_download(&plan, max_download)?;
        let left = max_download.map(|most| most.saturating_sub(plan.download_bytes()));
        self.allowed.set(left);
        let progress = match screen {
            Some(screen) => screen.progress(&plan),
            None => screen::progress(self.terminal, self.output, &plan),
        };
        let statuses = Apply {
            plan: &plan,
            folder: &self.file.folder(""),
            links: &pools.links,
            leases: self.leases,
            bundles: self.bundles,
            access: &HubAccess::from_env(),
            max_download,
            parallelism: 10,
            progress: &progress,
            interrupt,
        }
        .run()
        .await;
        let pairs = plan.actions.iter().zip(statuses);
        undone.extend(pairs.filter_map(|(action, status)| left_undone(action, status)));
        pools.observe_again().await;
        Ok(undone)
    }
}

fn left_undone(action: &Action, status: Status) -> Option<Undone> {
    let (why, is_failed, unreachable) = match status {
        // Why one was skipped, another action says.
        Status::Done { .. } | Status::Skipped { .. } => return None,
        Status::Failed(fault) => (fault.what, true, fault.unreachable),
        Status::NotStarted | Status::Cut => ("interrupted".to_owned(), false, false),
    };
    let address = match &action.kind {
        ActionKind::Spawn { spec, .. } => spec.address.clone(),
        _ => None,
    };
    Some(Undone {
        pool: action.pool.clone(),
        what: action.kind.to_string(),
        why,
        failed: address.filter(|_| is_failed && !unreachable),
        unreachable,
    })
}

fn check_download(plan: &Plan, most: Option<u64>) -> Result<(), Failure> {
    match (plan.download_bytes(), most) {
        (bytes, Some(most)) if bytes > most => {
            let [bytes, most] = [bytes, most].map(pool_core::units::bytes);
            let what = format!(
                "the next model downloads {bytes} from the hub, and {most} are left of --max-download"
            );
            Err(Failure::new(what).help("a larger --max-download lets it"))
        }
        _ => Ok(()),
    }
}

/// The plan that makes the ephemeral workers be those of `desired`, and touches nothing else.
fn plan_for(desired: &Desired, observed: &Observed) -> Plan {
    let mut desired = desired.clone();
    let mut observed = observed.clone();
    desired.home = None;
    desired.declared.clear();
    for (name, pool) in &mut desired.pools {
        keep(pool);
        if let Some(PoolState::Known(seen)) = observed.pools.get_mut(name) {
            hide(seen, pool, &desired.fleet);
        }
    }
    let has_work = |name: &_, pool: &DesiredPool| {
        let leftover = match observed.pools.get(name) {
            Some(PoolState::Known(seen)) => {
                let mut workers = seen.workers.iter();
                workers.any(|worker| is_ephemeral(worker, &desired.fleet))
            }
            _ => false,
        };
        leftover || !pool.workers.is_empty()
    };
    desired.pools.retain(|name, pool| has_work(name, pool));
    plan(&diff(&desired, &observed), Options::default())
}

/// Wants of a pool its ephemeral workers and their models alone.
fn keep(pool: &mut DesiredPool) {
    pool.workers.retain(|_, worker| worker.ephemeral);
    let workers = &pool.workers;
    pool.models
        .retain(|id, _| workers.values().any(|worker| worker.model == *id));
    pool.orchestrator = None;
    pool.configs.clear();
}

/// Leaves of the fleet's things on a pool only what this command may touch: the others are like a stranger's.
fn hide(seen: &mut PoolObservation, wanted: &mut DesiredPool, fleet: &FleetName) {
    seen.orchestrators.clear();
    seen.configs.clear();
    // A link that is there stays as it is, with its token; where there is none, one is made.
    if seen.links.remove(fleet).is_some() {
        wanted.link = DesiredLink::None;
    }
    let mut served: BTreeSet<ModelId> = BTreeSet::new();
    for worker in &mut seen.workers {
        if !is_ephemeral(worker, fleet) {
            let spec = &mut worker.record.spec;
            if spec.fleet.as_ref() == Some(fleet) {
                served.insert(spec.model.clone());
            }
            spec.fleet = None;
        }
    }
    for model in &mut seen.models {
        let id = &model.entry.id;
        if served.contains(id) || !wanted.models.contains_key(id) {
            model.entry.fleet = None;
        }
    }
}

fn is_ephemeral(worker: &ObservedWorker, fleet: &FleetName) -> bool {
    let spec = &worker.record.spec;
    spec.ephemeral && spec.fleet.as_ref() == Some(fleet)
}
