//! What becomes of attempts, and how tasks end.

use pool_core::serving::{Failure, FailureCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::Core;
use super::explain::{Explanation, Outcome, Stage};
use super::ids::{Now, TaskId, WorkerKey};
use super::task::{Place, Task};

/// Why an attempt gave no answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AttemptError {
    /// There was no connection.
    #[error("the worker could not be reached: {message}")]
    Connect { message: String },
    /// An answer other than 200.
    #[error("the worker answered {status}: {message}")]
    Status { status: u16, message: String },
    /// The stream ended before its end.
    #[error("the stream of the worker was cut")]
    Cut,
    /// Nothing came for too long.
    #[error("nothing came from the worker for {silent_ms} ms")]
    Stall { silent_ms: u64 },
    /// The stream is not what a worker may send.
    #[error("the worker sent what it may not: {message}")]
    Protocol { message: String },
    /// The stream ended with an `error`.
    #[error("the worker failed: {failure}")]
    Worker { failure: Failure },
}

/// What an error says of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// Nothing: it answers, and the request is to blame.
    None,
    /// It is full, or about to end.
    Busy,
    Failure {
        certain: bool,
    },
}

impl AttemptError {
    /// One word for it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Connect { .. } => "connect",
            Self::Status { .. } => "status",
            Self::Cut => "cut",
            Self::Stall { .. } => "stall",
            Self::Protocol { .. } => "protocol",
            Self::Worker { .. } => "worker",
        }
    }

    fn blame(&self) -> Blame {
        match self {
            Self::Connect { .. } => Blame::Failure { certain: true },
            Self::Status {
                status: 429 | 503, ..
            } => Blame::Busy,
            Self::Status {
                status: 400..=499, ..
            } => Blame::None,
            Self::Worker { failure } if failure.code != FailureCode::Internal => Blame::None,
            Self::Status { .. }
            | Self::Cut
            | Self::Stall { .. }
            | Self::Protocol { .. }
            | Self::Worker { .. } => Blame::Failure { certain: false },
        }
    }

    /// The same request may go well on another worker.
    fn is_retriable(&self) -> bool {
        match self {
            Self::Worker { failure } => failure.retriable,
            _ => self.blame() != Blame::None,
        }
    }

    /// How a task ends that has no other attempt.
    fn to_failure(&self) -> Failure {
        match self {
            Self::Worker { failure } => failure.clone(),
            _ => Failure {
                code: FailureCode::Internal,
                message: self.to_string(),
                retriable: self.is_retriable(),
            },
        }
    }
}

/// What happens after a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The task waits again, before those that came after it.
    Requeued,
    /// The task has failed.
    Failed(Failure),
    /// The task ended, or has another attempt by now: nothing happens.
    Stale,
}

/// Tokens that a worker counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    pub tokens_in: u64,
    pub tokens_out: u64,
}

/// What a cancellation met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cancelled {
    /// The task waited. It has ended.
    Queued,
    /// The task ran: it has ended, and the worker must be told.
    Running { worker: WorkerKey, attempt: u32 },
    /// There is no such task, or it ended before.
    NotThere,
}

/// The first pause after a worker said that it is full, and the longest.
const BUSY_MS: u64 = 100;
const BUSY_MOST_MS: u64 = 5_000;

impl Core {
    /// The worker began to compute.
    pub fn started(&mut self, id: &TaskId, attempt: u32) {
        let task = self.tasks.get_mut(id);
        if let Some(running) = task.and_then(|task| task.running(attempt)) {
            running.started = true;
        }
    }

    /// Something is about to be passed on to the client, with so many tokens since the last call: call it before the first
    /// time, and then as seldom as you like. False: the attempt is not the task's own any more, and nothing may be passed on.
    pub fn passed_on(&mut self, id: &TaskId, attempt: u32, tokens: u64) -> bool {
        let Some(task) = self.tasks.get_mut(id) else {
            return false;
        };
        let Some(running) = task.running(attempt) else {
            return false;
        };
        let is_first = !std::mem::replace(&mut running.passed_on, true);
        running.tokens += tokens;
        if is_first && let Some(worker) = worker_of(&mut self.models, task) {
            worker.breaker.succeeded();
            worker.busy_answers = 0;
        }
        true
    }

    /// The attempt came to its `end`: the task has completed. False: the attempt is not the task's own any more.
    pub fn ended(&mut self, now: Now, id: &TaskId, attempt: u32, used: Used) -> bool {
        let Some(task) = self.tasks.get_mut(id) else {
            return false;
        };
        let Some(running) = task.running(attempt) else {
            return false;
        };
        let took = now.mono_ms.saturating_sub(running.since);
        let cost = task.view.cost();
        if let Some(worker) = worker_of(&mut self.models, task) {
            worker.breaker.succeeded();
            worker.busy_answers = 0;
        }
        if let Some(model) = self.models.get_mut(&task.view.model) {
            model.pace.took(cost, took);
        }
        let used = used.tokens_in.saturating_add(used.tokens_out);
        self.end(now, id, Outcome::Completed, used);
        true
    }

    /// The attempt failed. Its task is tried again as long as the client has seen no token of it.
    pub fn failed(&mut self, now: Now, id: &TaskId, attempt: u32, error: AttemptError) -> Next {
        let Some(task) = self.tasks.get_mut(id) else {
            return Next::Stale;
        };
        let Some(running) = task.running(attempt) else {
            return Next::Stale;
        };
        let (name, passed_on) = (running.worker.clone(), running.passed_on);
        let blame = error.blame();
        if let Some(worker) = worker_of(&mut self.models, task) {
            match blame {
                Blame::None => worker.breaker.succeeded(),
                Blame::Busy => {
                    let pause = BUSY_MS << worker.busy_answers.min(16);
                    worker.busy_answers += 1;
                    worker.busy_until = now.mono_ms + pause.min(BUSY_MOST_MS);
                    worker.breaker.undecided();
                }
                Blame::Failure { certain } => {
                    worker
                        .breaker
                        .failed(now.mono_ms, certain, &self.config.breaker);
                }
            }
        }
        if blame != Blame::Busy {
            task.failures += 1;
            if !task.view.failed_on.contains(&name) {
                task.view.failed_on.push(name);
            }
        }
        if let Some(last) = task.attempts.last_mut() {
            last.error = Some(error.clone());
        }
        let may_repeat = !passed_on && error.is_retriable() && task.failures <= self.config.retries;
        if may_repeat && self.repeats(now, id, &error) {
            self.requeue(id);
            return Next::Requeued;
        }
        let failure = error.to_failure();
        let used = self.used_until_now(id);
        self.end(now, id, Outcome::Failed(failure.clone()), used);
        Next::Failed(failure)
    }

    /// Ends a task that nobody wants any more. Doing it twice is doing it once.
    pub fn cancel(&mut self, now: Now, id: &TaskId) -> Cancelled {
        self.stop(now, id, Outcome::Cancelled)
    }

    pub(super) fn stop(&mut self, now: Now, id: &TaskId, outcome: Outcome) -> Cancelled {
        let Some(task) = self.tasks.get_mut(id) else {
            return Cancelled::NotThere;
        };
        let attempt = task.view.attempts;
        let cancelled = match &task.place {
            Place::Queued => Cancelled::Queued,
            Place::Running(running) => Cancelled::Running {
                worker: running.worker.clone(),
                attempt,
            },
        };
        if let Some(worker) = worker_of(&mut self.models, task) {
            worker.breaker.undecided();
        }
        let used = self.used_until_now(id);
        self.end(now, id, outcome, used);
        cancelled
    }

    fn repeats(&mut self, now: Now, id: &TaskId, error: &AttemptError) -> bool {
        let Some(task) = self.tasks.get(id) else {
            return false;
        };
        let Some(model) = self.models.get(&task.view.model) else {
            return false;
        };
        let snapshot = model.snapshot(now, &task.view.model, &self.config);
        self.policy
            .repeats(&snapshot, &task.view, error)
            .unwrap_or(true)
    }

    /// Puts a task that ran back where it was in its queue.
    fn requeue(&mut self, id: &TaskId) {
        let Some(task) = self.tasks.get_mut(id) else {
            return;
        };
        release(&mut self.models, task);
        task.place = Place::Queued;
        let cost = task.view.cost();
        let weight = self.tenants.weight(&task.view.tenant);
        let model = self.models.entry(task.view.model.clone()).or_default();
        let queue = model.queue_mut(task.view.class);
        queue.settle(&task.view.tenant, cost, 0);
        queue.insert(&task.view.tenant, weight, task.waiting());
    }

    /// Tokens that a task used which did not come to its end.
    fn used_until_now(&self, id: &TaskId) -> u64 {
        match self.tasks.get(id).map(|task| (&task.place, &task.view)) {
            Some((Place::Running(running), view)) if running.started || running.passed_on => {
                view.tokens_in + running.tokens
            }
            _ => 0,
        }
    }

    /// Ends a task: from now on there is none.
    pub(super) fn end(&mut self, now: Now, id: &TaskId, outcome: Outcome, used: u64) {
        let Some(task) = self.leave(id) else {
            return;
        };
        let cost = task.view.cost();
        let after_ms = now.mono_ms.saturating_sub(task.submitted);
        self.tenants.settle(now, &task.view.tenant, cost, used);
        self.tenants.lived(&task.view.tenant, after_ms);
        if let Some(model) = self.models.get_mut(&task.view.model)
            && matches!(task.place, Place::Running(_))
        {
            let queue = model.queue_mut(task.view.class);
            queue.settle(&task.view.tenant, cost, used);
        }
        let explanation = Explanation {
            state: Stage::Ended { outcome, after_ms },
            task: task.view,
            attempts: task.attempts,
            decision: None,
        };
        self.recent.add(explanation, self.config.recent);
    }

    /// Takes a task out of wherever it is.
    pub(super) fn leave(&mut self, id: &TaskId) -> Option<Task> {
        let task = self.tasks.remove(id)?;
        self.deadlines.remove(&(task.deadline, id.clone()));
        match task.place {
            Place::Running(_) => release(&mut self.models, &task),
            Place::Queued => {
                if let Some(model) = self.models.get_mut(&task.view.model) {
                    let queue = model.queue_mut(task.view.class);
                    queue.remove(&task.view.tenant, id);
                }
            }
        }
        Some(task)
    }
}

type Models = std::collections::BTreeMap<pool_core::name::ModelId, super::model::Model>;

/// The worker that a task runs on.
fn worker_of<'a>(models: &'a mut Models, task: &Task) -> Option<&'a mut super::Worker> {
    match &task.place {
        Place::Running(running) => models.get_mut(&task.view.model)?.worker(&running.worker),
        Place::Queued => None,
    }
}

/// Frees the slot of a task.
fn release(models: &mut Models, task: &Task) {
    if let Some(worker) = worker_of(models, task) {
        worker.running = worker.running.saturating_sub(1);
        worker.tokens = worker.tokens.saturating_sub(task.view.cost());
    }
}
