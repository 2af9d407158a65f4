//! Which checks are asked of which workers.

use std::collections::BTreeMap;

use pool_core::address::WorkerAddress;
use pool_core::digest::Sha256;
use pool_core::name::ModelId;
use pool_core::observation::ObservedWorker;
use pool_core::worker::WorkerSpec;
use reconciler::desired::Desired;
use reconciler::fleet::{Check, Fleet};
use reconciler::glob;
use reconciler::observed::{Observed, PoolState};
use serde_json::json;

use super::ask::Question;
use crate::cli::Test;
use crate::report::support::{Key, Outcome};

/// A check of a worker, before anybody is asked.
#[derive(Debug, Clone)]
pub struct Cell {
    pub check: String,
    pub worker: WorkerAddress,
    pub model: ModelId,
    pub question: Question,
    /// What it is asked in between.
    pub other: Question,
    pub check_hash: Sha256,
    /// The worker exists only for the matrix.
    pub is_ephemeral: bool,
}

impl Cell {
    /// The check and the worker's address.
    pub fn name(&self) -> (String, String) {
        (self.check.clone(), self.worker.to_string())
    }
}

/// All cells, in the order of their workers. `desired` has the ephemeral workers too.
pub fn cells(fleet: &Fleet, desired: &Desired) -> Vec<Cell> {
    let workers = desired.pools.values().flat_map(|pool| &pool.workers);
    let mut cells = Vec::new();
    for (address, worker) in workers {
        let asked: Vec<(&str, &Check)> = fleet
            .checks
            .iter()
            .filter(|(_, check)| check.workers.iter().any(|one| one.matches(&address.name)))
            .map(|(name, check)| (name.as_str(), &check.value))
            .collect();
        let declared = fleet.workers.get(&address.name);
        let is_ephemeral = declared.is_some_and(|worker| worker.is_ephemeral());
        for (index, (name, check)) in asked.iter().enumerate() {
            let other = &asked[(index + 1) % asked.len()];
            cells.push(Cell {
                check: (*name).to_owned(),
                worker: address.clone(),
                model: worker.model.clone(),
                question: Question::of(check),
                other: if other.0 == *name {
                    Question::any()
                } else {
                    Question::of(other.1)
                },
                check_hash: hash(check),
                is_ephemeral,
            });
        }
    }
    cells
}

/// Those that the command line leaves.
pub fn chosen(mut cells: Vec<Cell>, args: &Test) -> Vec<Cell> {
    cells.retain(|cell| is_wanted(args.check.as_deref(), &[&cell.check]));
    cells.retain(|cell| {
        let (address, label) = (cell.worker.to_string(), cell.worker.label());
        is_wanted(args.worker.as_deref(), &[&address, &label])
    });
    cells
}

fn is_wanted(pattern: Option<&str>, names: &[&str]) -> bool {
    pattern.is_none_or(|pattern| names.iter().any(|name| glob::matches(pattern, name)))
}

/// Of all that decides whether an answer is right.
fn hash(check: &Check) -> Sha256 {
    let Check {
        prompt,
        expect,
        pattern,
        max_tokens,
        ..
    } = check;
    let expect = expect.as_ref().map(|text| &text.value);
    let pattern = pattern.as_ref().map(|regex| regex.value.as_str());
    let max_tokens = max_tokens.as_ref().map(|most| most.value);
    Sha256::of(json!([prompt.value, expect, pattern, max_tokens]).to_string())
}

/// The worker of a cell where it serves.
pub fn serving<'a>(
    observed: &'a Observed,
    fleet: &Fleet,
    worker: &WorkerAddress,
) -> Result<&'a ObservedWorker, Outcome> {
    let pool = &worker.pool;
    let not_run = |why: String, unreachable| Outcome::NotRun { why, unreachable };
    let seen = match observed.pools.get(pool) {
        Some(PoolState::Known(seen)) => seen,
        Some(PoolState::Unknown(unknown)) => {
            let why = format!("pool {pool}: {}", unknown.cause);
            return Err(not_run(why, unknown.unreachable));
        }
        Some(PoolState::Bare(_)) | None => {
            let why = format!("rbee is not installed on pool {pool}; `rbee apply` installs it");
            return Err(not_run(why, false));
        }
    };
    let mut mine = seen.workers.iter().filter(|one| {
        let spec = &one.record.spec;
        spec.fleet.as_ref() == Some(&fleet.name.value) && spec.address.as_ref() == Some(worker)
    });
    mine.clone()
        .find(|one| one.alive)
        .or_else(|| mine.next())
        .filter(|one| one.alive)
        .ok_or_else(|| {
            not_run(
                "the worker does not run; `rbee apply` spawns it".into(),
                false,
            )
        })
}

/// What the result of a cell depends on.
pub fn key(cell: &Cell, worker: &ObservedWorker) -> Key {
    let record = &worker.record;
    Key {
        model_digest: record.spec.model_digest,
        build: build(&record.program),
        spec_hash: record.spec_hash,
        check_hash: cell.check_hash,
    }
}

/// The key that a cell will have whose worker is not there yet.
pub fn key_to_be(cell: &Cell, desired: &Desired, observed: &Observed) -> Option<Key> {
    let PoolState::Known(seen) = observed.pools.get(&cell.worker.pool)? else {
        return None;
    };
    let spec = spec(cell, desired)?;
    let target = seen.platform.target()?;
    Some(Key {
        model_digest: spec.model_digest,
        build: desired.builds.get(target)?.clone().ok(),
        spec_hash: spec.hash(),
        check_hash: cell.check_hash,
    })
}

/// What the worker of a cell should be; none where the files of its model are not known.
pub fn spec(cell: &Cell, desired: &Desired) -> Option<WorkerSpec> {
    let pool = desired.pools.get(&cell.worker.pool)?;
    let worker = pool.workers.get(&cell.worker)?;
    let content = pool.models.get(&worker.model)?.content.as_ref().ok()?;
    Some(worker.spec(&desired.fleet, &cell.worker, content.digest()))
}

/// The build that a program of a pool belongs to: `bin/DIGEST/llm-worker-rbee`.
fn build(program: &str) -> Option<Sha256> {
    let mut parts = program.rsplit('/').skip(1);
    parts.next()?.parse().ok()
}

/// The cells by the device that they are asked on.
pub fn by_device(cells: Vec<Cell>) -> Vec<Vec<Cell>> {
    let mut devices: BTreeMap<_, Vec<Cell>> = BTreeMap::new();
    for cell in cells {
        let device = (cell.worker.pool.clone(), cell.worker.device);
        devices.entry(device).or_default().push(cell);
    }
    devices.into_values().collect()
}
