//! Which worker a task goes to: a pure function of what is known of them.

use pool_core::name::ModelId;
use schemars::JsonSchema;
use serde::Serialize;

use super::breaker::State;
use super::config::{Affinity, Scheduling};
use super::ids::WorkerKey;
use super::task::TaskView;
use super::worker::{Condition, Worker, WorkerView};

/// What a decision is made from. Its workers are not serialised with it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Snapshot<'a> {
    /// On the clock that never goes back.
    pub mono_ms: u64,
    /// Since 1970.
    pub unix_ms: u64,
    pub model: &'a ModelId,
    pub strategy: Scheduling,
    pub affinity: Affinity,
    /// Which of `workers` got the last task.
    pub last: usize,
    pub queued_interactive: usize,
    pub queued_batch: usize,
    /// What all that wait are taken to need.
    pub queued_tokens: u64,
    /// Those that serve the model, by their keys.
    #[serde(skip)]
    pub workers: &'a [Worker],
}

/// Where a task goes and what else there was.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Decision {
    /// None: it has to wait.
    pub worker: Option<WorkerKey>,
    /// A script chose it, not the scores.
    pub by_policy: bool,
    pub candidates: Vec<Candidate>,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Candidate {
    pub worker: WorkerKey,
    /// The highest one wins, of equals the one with fewer tokens to compute.
    pub score: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filtered: Option<Filter>,
}

/// Why a worker cannot take a task now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    Gone,
    Unreachable,
    Loading,
    Draining,
    ContextTooShort {
        context_length: u64,
    },
    /// An attempt of this task failed on it, and there are others.
    FailedBefore,
    /// Attempts on it failed; it is left alone for so long.
    BreakerOpen {
        for_ms: u64,
    },
    /// One attempt shows whether it is well again.
    Trial,
    /// It said that it is full; it is asked again after so long.
    Busy {
        for_ms: u64,
    },
    NoFreeSlot,
}

impl Filter {
    /// It goes away by itself when other tasks end.
    fn is_load(self) -> bool {
        matches!(self, Self::Busy { .. } | Self::NoFreeSlot)
    }
}

/// Finds the worker with the highest score among those that can take the task now.
pub fn schedule(snapshot: &Snapshot<'_>, task: &TaskView) -> Decision {
    let reasons: Vec<Option<Filter>> = snapshot
        .workers
        .iter()
        .map(|worker| filter(worker, task, snapshot.mono_ms))
        .collect();
    let failed = |worker: &WorkerView| task.failed_on.contains(&worker.info.id);
    let elsewhere = reasons
        .iter()
        .zip(snapshot.workers)
        .any(|(reason, worker)| reason.is_none_or(Filter::is_load) && !failed(worker));
    let most_memory = snapshot.workers.iter().map(|w| w.info.memory_free).max();
    let mut candidates = Vec::with_capacity(reasons.len());
    let mut best: Option<(f64, &WorkerView)> = None;
    for (at, (worker, reason)) in snapshot.workers.iter().zip(reasons).enumerate() {
        let base = match snapshot.strategy {
            Scheduling::RoundRobin => in_turn(at, snapshot.last, snapshot.workers.len()),
            Scheduling::LeastLoaded => idleness(worker),
            Scheduling::MostFreeMemory => {
                worker.info.memory_free as f64 / most_memory.unwrap_or(0).max(1) as f64
            }
        };
        let warmth = worker.warmth(task);
        let session = snapshot.affinity.session * f64::from(u8::from(warmth.session_here));
        let score = base + snapshot.affinity.prefix * warmth.prefix_share + session;
        let filtered = reason.or((elsewhere && failed(worker)).then_some(Filter::FailedBefore));
        let is_better = |&(most, other): &(f64, &WorkerView)| {
            score > most || score.total_cmp(&most).is_eq() && worker.tokens < other.tokens
        };
        if filtered.is_none() && best.as_ref().is_none_or(is_better) {
            best = Some((score, worker));
        }
        candidates.push(Candidate {
            worker: worker.info.id.clone(),
            score,
            filtered,
        });
    }
    Decision {
        worker: best.map(|(_, worker)| worker.info.id.clone()),
        by_policy: false,
        candidates,
    }
}

fn filter(worker: &WorkerView, task: &TaskView, now: u64) -> Option<Filter> {
    let condition = match worker.condition {
        Condition::Gone => Some(Filter::Gone),
        Condition::Unreachable => Some(Filter::Unreachable),
        Condition::Loading => Some(Filter::Loading),
        Condition::Draining => Some(Filter::Draining),
        Condition::Ready => worker.drained.then_some(Filter::Draining),
    };
    let context_length = worker.info.context_length;
    if condition.is_some() {
        return condition;
    }
    if task.context > context_length {
        return Some(Filter::ContextTooShort { context_length });
    }
    match worker.breaker.state(now) {
        State::Open { until } => {
            let for_ms = until - now;
            return Some(Filter::BreakerOpen { for_ms });
        }
        State::Trial => return Some(Filter::Trial),
        State::Closed | State::HalfOpen => {}
    }
    if now < worker.busy_until {
        let for_ms = worker.busy_until - now;
        return Some(Filter::Busy { for_ms });
    }
    (worker.free_slots() == 0).then_some(Filter::NoFreeSlot)
}

/// 1 for the worker after the last one, less for each one further on.
fn in_turn(at: usize, last: usize, workers: usize) -> f64 {
    let steps = (at + 2 * workers - last % workers - 1) % workers;
    (workers - steps) as f64 / workers as f64
}

/// Tokens for each slot that halve a worker's score.
const HALF: f64 = 1000.0;

fn idleness(worker: &WorkerView) -> f64 {
    let tokens = worker.tokens as f64 / f64::from(worker.info.slots.max(1));
    HALF / (HALF + tokens)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
