//! A task: what is asked of the fleet, and where it is.

use pool_core::name::ModelId;
pub use pool_core::serving::Priority;
use schemars::JsonSchema;
use serde::Serialize;

use super::explain::Attempt;
use super::ids::{TaskId, TenantId, WorkerKey};
use super::queue::Waiting;

/// What is asked for, before it is admitted.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    pub id: TaskId,
    pub tenant: TenantId,
    pub model: ModelId,
    pub class: Priority,
    /// Tokens of the prompt, as well as they are known; what is charged at the end is what the worker counted.
    pub tokens_in: u64,
    /// Tokens of the answer at most; none: as many as the context leaves.
    pub max_tokens: Option<u64>,
    /// A hash of tenant and session.
    pub session: Option<u64>,
    /// Hashes of ever longer beginnings of the prompt, shortest first, each with what separates tenants from each other.
    pub prefixes: Vec<u64>,
    /// Milliseconds from now until it must have ended.
    pub deadline_ms: Option<u64>,
    /// A hash of the whole request: who was told to come back later is known by it.
    pub request: u64,
}

/// A task as the scheduler and policies see it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TaskView {
    pub id: TaskId,
    pub tenant: TenantId,
    pub model: ModelId,
    pub class: Priority,
    pub tokens_in: u64,
    pub max_tokens: u64,
    pub session: Option<u64>,
    #[serde(skip)]
    pub prefixes: Vec<u64>,
    /// Tokens that a worker's context has to hold.
    pub context: u64,
    /// Attempts that were begun.
    pub attempts: u32,
    /// Workers on which an attempt failed.
    pub failed_on: Vec<WorkerKey>,
}

impl TaskView {
    /// Tokens of the prompt and the answer at most: what a task is taken to cost before it has ended.
    pub fn cost(&self) -> u64 {
        self.tokens_in.saturating_add(self.max_tokens).max(1)
    }
}

/// Where a task is.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Place {
    Queued,
    Running(Running),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Running {
    pub worker: WorkerKey,
    pub since: u64,
    /// Something was passed on: there is no other attempt.
    pub passed_on: bool,
    /// Tokens that were passed on.
    pub tokens: u64,
    /// The worker began to compute.
    pub started: bool,
}

/// A task that has not ended.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub view: TaskView,
    /// Counts submissions.
    pub number: u64,
    pub submitted: u64,
    pub deadline: u64,
    pub place: Place,
    /// Failures that count against the limit.
    pub failures: u32,
    pub attempts: Vec<Attempt>,
}

impl Task {
    pub fn waiting(&self) -> Waiting {
        Waiting {
            id: self.view.id.clone(),
            number: self.number,
            cost: self.view.cost(),
        }
    }

    /// Where it runs, if this is the attempt that runs.
    pub fn running(&mut self, attempt: u32) -> Option<&mut Running> {
        match &mut self.place {
            Place::Running(running) if self.view.attempts == attempt => Some(running),
            _ => None,
        }
    }
}
