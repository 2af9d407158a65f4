//! Why a task is where it is: for tasks that wait or run, and for those that ended lately.

use std::collections::{HashMap, VecDeque};

use pool_core::serving::Failure;
use schemars::JsonSchema;
use serde::Serialize;

use super::Core;
use super::ids::{Now, TaskId, WorkerKey};
use super::outcome::AttemptError;
use super::schedule::{Decision, schedule};
use super::task::{Place, Task, TaskView};

/// What was decided for a task and why.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Explanation {
    pub task: TaskView,
    pub state: Stage,
    /// The last attempts, oldest first.
    pub attempts: Vec<Attempt>,
    /// For a task that waits: where it would go now, and what keeps it from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

/// How far a task is. Times are milliseconds since its submission.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Stage {
    Queued {
        waited_ms: u64,
        queue_position: usize,
        predicted_start_ms: u64,
    },
    Running {
        worker: WorkerKey,
        attempt: u32,
        since_ms: u64,
    },
    Ended {
        outcome: Outcome,
        after_ms: u64,
    },
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Completed,
    Failed(Failure),
    Cancelled,
}

/// One way to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Attempt {
    /// Counts from 1.
    pub number: u32,
    pub worker: WorkerKey,
    /// Milliseconds since the submission.
    pub at_ms: u64,
    pub decision: Decision,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<AttemptError>,
}

/// Attempts that are kept of one task.
const ATTEMPTS: usize = 8;

impl Task {
    pub(super) fn note(&mut self, attempt: Attempt) {
        if self.attempts.len() == ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(attempt);
    }
}

/// Tasks that ended lately.
#[derive(Debug, Default)]
pub(super) struct Recent {
    of: HashMap<TaskId, Explanation>,
    order: VecDeque<TaskId>,
}

impl Recent {
    pub fn contains(&self, id: &TaskId) -> bool {
        self.of.contains_key(id)
    }

    pub fn get(&self, id: &TaskId) -> Option<&Explanation> {
        self.of.get(id)
    }

    pub fn add(&mut self, explanation: Explanation, most: usize) {
        let id = explanation.task.id.clone();
        self.order.push_back(id.clone());
        self.of.insert(id, explanation);
        while self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
    }
}

impl Core {
    /// Explains a task that has not ended, or ended lately.
    pub fn explain(&self, now: Now, id: &TaskId) -> Option<Explanation> {
        let Some(task) = self.tasks.get(id) else {
            return self.recent.get(id).cloned();
        };
        let (state, decision) = match &task.place {
            Place::Running(running) => {
                let state = Stage::Running {
                    worker: running.worker.clone(),
                    attempt: task.view.attempts,
                    since_ms: running.since - task.submitted,
                };
                (state, None)
            }
            Place::Queued => {
                let (queue_position, predicted_start_ms) = self.outlook(now, &task.view.model, id);
                let state = Stage::Queued {
                    waited_ms: now.mono_ms.saturating_sub(task.submitted),
                    queue_position,
                    predicted_start_ms,
                };
                let model = self.models.get(&task.view.model);
                let decide = |model: &super::model::Model| {
                    let snapshot = model.snapshot(now, &task.view.model, &self.config);
                    schedule(&snapshot, &task.view)
                };
                (state, model.map(decide))
            }
        };
        Some(Explanation {
            task: task.view.clone(),
            state,
            attempts: task.attempts.clone(),
            decision,
        })
    }
}
