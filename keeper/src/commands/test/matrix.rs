//! The workers that exist only for the matrix: spawned for their cells, and stopped.
//!
//! They are brought by plans of their own, made as if the fleet had nothing else: what else differs from fleet.yaml is not this
//! command's business. A run that was killed leaves them behind; the next `rbee test`, and every `rbee apply`, stops them.

use std::collections::BTreeSet;

use pool_core::name::{FleetName, PoolName, WorkerName};
use pool_core::observation::{ObservedWorker, PoolObservation};
use pool_core::supply::HubAccess;
use reconciler::desired::{Desired, DesiredPool};
use reconciler::diff::diff;
use reconciler::fleet::Fleet;
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::Plan;
use reconciler::planner::{Options, plan};

use crate::apply::{Apply, Status};
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::pools::Pools;
use crate::progress::{Output, Progress};
use crate::terminal::Terminal;
use crate::transport::Bundles;

/// What brings and stops ephemeral workers.
pub struct Matrix<'a> {
    pub file: &'a FleetFile,
    pub leases: &'a Leases,
    pub bundles: &'a Bundles,
    pub terminal: Terminal,
    pub output: Output,
    pub max_download: Option<u64>,
}

/// What could not be done.
#[derive(Debug, Clone)]
pub struct Undone {
    pub pool: PoolName,
    /// Such as `spawn chat/here/cpu/0`.
    pub what: String,
    pub why: String,
    /// It was tried.
    pub has_failed: bool,
}

/// The ephemeral workers of a fleet.
pub fn ephemeral(fleet: &Fleet) -> BTreeSet<WorkerName> {
    let workers = fleet.workers.iter();
    let ephemeral = workers.filter(|(_, worker)| worker.is_ephemeral());
    ephemeral.map(|(name, _)| name.clone()).collect()
}

impl Matrix<'_> {
    /// Makes the ephemeral workers be those of `desired`, and asks the pools again. Returns what could not be done.
    pub async fn bring(
        &self,
        desired: &Desired,
        pools: &mut Pools,
        interrupt: &Interrupt,
    ) -> Result<Vec<Undone>, Failure> {
        let names = ephemeral(&self.file.fleet);
        let plan = plan_for(desired, &pools.observed, &names);
        let blocked = plan.blocked.iter().map(|blocked| Undone {
            pool: blocked.pool.clone(),
            what: blocked.what.clone(),
            why: blocked.why.clone(),
            has_failed: false,
        });
        let mut undone: Vec<Undone> = blocked.collect();
        if plan.is_empty() {
            return Ok(undone);
        }
        check_download(&plan, self.max_download)?;
        // The only document on stdout is that of the results.
        let output = match self.output {
            Output::Text => Output::Text,
            Output::Json | Output::JsonStream => Output::Json,
        };
        let progress = Progress::new(self.terminal, output, &plan);
        let statuses = Apply {
            plan: &plan,
            folder: &self.file.folder(""),
            links: &pools.links,
            leases: self.leases,
            bundles: self.bundles,
            access: &HubAccess::from_env(),
            max_download: self.max_download,
            parallelism: 10,
            progress: &progress,
            interrupt,
        }
        .run()
        .await;
        for (action, status) in plan.actions.iter().zip(statuses) {
            if let Status::Failed(fault) = status {
                undone.push(Undone {
                    pool: action.pool.clone(),
                    what: action.kind.to_string(),
                    why: fault.what,
                    has_failed: true,
                });
            }
        }
        pools.observe_again().await;
        Ok(undone)
    }
}

fn check_download(plan: &Plan, most: Option<u64>) -> Result<(), Failure> {
    match (plan.download_bytes(), most) {
        (bytes, Some(most)) if bytes > most => {
            let [bytes, most] = [bytes, most].map(pool_core::units::bytes);
            let what = format!(
                "the matrix downloads {bytes} from the hub, and --max-download allows {most}"
            );
            Err(Failure::new(what).help("a larger --max-download lets it; nothing was moved"))
        }
        _ => Ok(()),
    }
}

/// The plan that makes the ephemeral workers be those of `desired`, and touches nothing else.
fn plan_for(desired: &Desired, observed: &Observed, names: &BTreeSet<WorkerName>) -> Plan {
    let mut desired = desired.clone();
    let mut observed = observed.clone();
    desired.home = None;
    for (name, pool) in &mut desired.pools {
        keep(pool, names);
        if let Some(PoolState::Known(seen)) = observed.pools.get_mut(name) {
            hide(seen, &desired.fleet, names);
        }
    }
    let has_work = |name: &_, pool: &DesiredPool| {
        let leftover = match observed.pools.get(name) {
            Some(PoolState::Known(seen)) => {
                let mut workers = seen.workers.iter();
                workers.any(|worker| is_ephemeral(worker, &desired.fleet, names))
            }
            _ => false,
        };
        leftover || !pool.workers.is_empty()
    };
    desired.pools.retain(|name, pool| has_work(name, pool));
    plan(&diff(&desired, &observed), Options::default())
}

/// Wants of a pool its ephemeral workers and their models alone.
fn keep(pool: &mut DesiredPool, names: &BTreeSet<WorkerName>) {
    pool.workers
        .retain(|address, _| names.contains(&address.name));
    let workers = &pool.workers;
    pool.models
        .retain(|id, _| workers.values().any(|worker| worker.model == *id));
    pool.orchestrator = None;
    pool.configs.clear();
}

/// Leaves of the fleet's things on a pool only what this command may touch: the others are like a stranger's.
fn hide(seen: &mut PoolObservation, fleet: &FleetName, names: &BTreeSet<WorkerName>) {
    seen.orchestrators.clear();
    seen.configs.clear();
    for worker in &mut seen.workers {
        if !is_ephemeral(worker, fleet, names) {
            worker.record.spec.fleet = None;
        }
    }
}

fn is_ephemeral(worker: &ObservedWorker, fleet: &FleetName, names: &BTreeSet<WorkerName>) -> bool {
    let spec = &worker.record.spec;
    let address = spec.address.as_ref();
    spec.fleet.as_ref() == Some(fleet) && address.is_some_and(|one| names.contains(&one.name))
}
