//! What the store keeps.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file, made with mode 0600 where there is none.
    Sqlite(PathBuf),
    /// Gone with the process.
    Memory,
}

/// What keeps a store bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Ended tasks that are kept.
    pub ended_tasks: u64,
    /// How long an ended task is kept.
    pub ended_for: Duration,
    /// Bytes of the whole store; the events of ended tasks have at most half of them. What does not fit is
    /// refused with [`StoreError::Full`](super::StoreError::Full).
    pub bytes: u64,
    /// Bytes of the newest events that one live task has in memory; older ones are read back.
    pub window_bytes: usize,
    /// What was deleted is gone from the files of the store after this time.
    pub wipe_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            ended_tasks: 10_000,
            ended_for: Duration::from_hours(1),
            bytes: 512 << 20,
            window_bytes: 32 << 10,
            wipe_after: Duration::from_secs(2),
        }
    }
}

/// A task as it was accepted. Times are milliseconds since 1970 in UTC.
#[derive(Clone, PartialEq, Eq)]
pub struct Task {
    pub id: String,
    pub tenant: String,
    pub model: String,
    pub class: String,
    pub session: Option<String>,
    /// The request, with its prompt: deleted when the task ends, and empty from then on.
    pub body: Bytes,
    /// Tokens that it may take, estimated.
    pub tokens: u64,
    pub submitted_at: u64,
    pub deadline: Option<u64>,
    pub correlation_id: String,
}

/// Without the prompt.
impl fmt::Debug for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task")
            .field("id", &self.id)
            .field("tenant", &self.tenant)
            .field("model", &self.model)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish_non_exhaustive()
    }
}

/// Where a task is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "TaskStatus")]
pub enum State {
    Queued,
    /// On its way to a worker.
    Dispatched,
    /// A worker has it.
    Running,
    Completed,
    Failed,
    Cancelled,
}

impl State {
    pub(super) const ALL: [Self; 6] = [
        Self::Queued,
        Self::Dispatched,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing follows it.
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

/// How a task ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Completed,
    Failed,
    Cancelled,
}

impl From<Outcome> for State {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Completed => Self::Completed,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
        }
    }
}

/// A task as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub task: Task,
    pub state: State,
    /// The worker that had it last.
    pub worker: Option<String>,
    /// How often it was dispatched.
    pub attempts: u32,
    /// Tokens that are stored: with one it cannot run again elsewhere.
    pub sent_tokens: u64,
    /// The id of its next event.
    pub next_event: u64,
    pub ended_at: Option<u64>,
    /// The last frame of a task that has ended.
    pub terminal: Option<Bytes>,
}

/// What a tenant used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub tenant: String,
    /// When this was so, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Tokens since midnight, UTC.
    pub day: u64,
    /// Tokens that its minute's bucket lacks.
    pub minute: u64,
}
