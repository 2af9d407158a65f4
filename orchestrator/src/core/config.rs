//! What the core is told once.

use pool_core::name::ModelId;
pub use pool_core::orchestrator::{Scheduling, WhenFull};
use serde::{Deserialize, Serialize};

/// The settings of a [`Core`](super::Core). Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Models that are known before a worker serves them.
    pub models: Vec<ModelId>,
    /// Tasks that may wait for one model.
    pub queue_bound: usize,
    pub when_full: WhenFull,
    pub strategy: Scheduling,
    pub affinity: Affinity,
    /// Interactive tasks that may start while a batch task waits, before one batch task does.
    pub interactive_per_batch: u32,
    /// How long a task may take from its submission to its end, when it does not say so itself.
    pub deadline_ms: u64,
    /// The most that it may ask for.
    pub deadline_most_ms: u64,
    /// Attempts after the first one; answers of a worker that is full are not counted.
    pub retries: u32,
    pub breaker: BreakerConfig,
    /// Time between two heartbeats of a worker.
    pub heartbeat_ms: u64,
    /// Heartbeats that may be missed before a worker counts as gone.
    pub heartbeats_missed: u32,
    /// How long a worker that is gone is still shown.
    pub forget_worker_ms: u64,
    /// Tasks that can still be explained after their end.
    pub recent: usize,
    /// How long a place is kept for a client that was told when to come back, after that time.
    pub promise_grace_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            models: Vec::new(),
            queue_bound: 100,
            when_full: WhenFull::Reject,
            strategy: Scheduling::LeastLoaded,
            affinity: Affinity::default(),
            interactive_per_batch: 9,
            deadline_ms: 300_000,
            deadline_most_ms: 1_800_000,
            retries: 2,
            breaker: BreakerConfig::default(),
            heartbeat_ms: 15_000,
            heartbeats_missed: 3,
            forget_worker_ms: 600_000,
            recent: 1000,
            promise_grace_ms: 10_000,
        }
    }
}

/// What it adds to the score of a worker, which the strategy puts between 0 and 1, that the worker knows a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Affinity {
    /// For a worker that computed the whole prefix lately; in proportion for a part of it.
    pub prefix: f64,
    /// For the worker that the session was on last.
    pub session: f64,
}

impl Default for Affinity {
    fn default() -> Self {
        Self {
            prefix: 0.3,
            session: 0.2,
        }
    }
}

/// When a worker that fails is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BreakerConfig {
    /// Failures in a row; a connection that is refused is enough alone.
    pub failures: u32,
    /// The first pause; each one after a failed trial is twice as long.
    pub pause_ms: u64,
    pub pause_most_ms: u64,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            failures: 3,
            pause_ms: 1000,
            pause_most_ms: 60_000,
        }
    }
}
