//! A worker as the core knows it.

use std::collections::{HashSet, VecDeque};
use std::ops::{Deref, DerefMut};

use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::name::ModelId;
use schemars::JsonSchema;
use serde::Serialize;

use super::breaker::{Breaker, State};
use super::ids::WorkerKey;
use super::task::TaskView;

/// What a worker says of itself when it registers, and with each heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WorkerInfo {
    pub id: WorkerKey,
    pub model: ModelId,
    /// Workers whose models have the same name serve the same queue, whatever the digest.
    pub digest: Option<Sha256>,
    pub pool: String,
    pub device: Device,
    pub url: String,
    pub slots: u32,
    /// Slots in use, by whomever.
    pub busy: u32,
    /// Bytes.
    pub memory_free: u64,
    /// Tokens of a prompt and its answer together.
    pub context_length: u64,
    /// Microseconds for one token of one request.
    pub us_per_token: Option<u64>,
}

/// What a worker can do now, as it said last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    Ready,
    Loading,
    /// It finishes what runs and takes nothing more.
    Draining,
    /// It did not answer the last probe.
    Unreachable,
    /// It was not heard of for too long.
    Gone,
}

impl Condition {
    pub const ALL: [Self; 5] = [
        Self::Ready,
        Self::Loading,
        Self::Draining,
        Self::Unreachable,
        Self::Gone,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Loading => "loading",
            Self::Draining => "draining",
            Self::Unreachable => "unreachable",
            Self::Gone => "gone",
        }
    }

    /// It serves, or can be expected to soon.
    pub(super) fn has_future(self) -> bool {
        matches!(self, Self::Ready | Self::Loading | Self::Unreachable)
    }
}

/// What is shown of a worker.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct WorkerView {
    #[serde(flatten)]
    pub info: WorkerInfo,
    pub condition: Condition,
    /// The operator wants it to take nothing more.
    pub drained: bool,
    /// Tasks of ours that run on it.
    pub running: u32,
    /// Slots that others use.
    pub foreign: u32,
    /// What the running tasks are taken to need in all.
    pub tokens: u64,
    pub breaker: Breaker,
    /// It said that it is full: nothing is sent before.
    pub busy_until: u64,
    /// When it was heard of last.
    pub heard: u64,
}

/// What is shown of a worker, and what is remembered of it beside.
#[derive(Debug, Clone)]
pub struct Worker {
    view: WorkerView,
    /// How often it said in a row that it is full.
    pub(super) busy_answers: u32,
    pub(super) warm: Warm,
}

impl Deref for Worker {
    type Target = WorkerView;

    fn deref(&self) -> &WorkerView {
        &self.view
    }
}

impl DerefMut for Worker {
    fn deref_mut(&mut self) -> &mut WorkerView {
        &mut self.view
    }
}

/// What a worker was given lately of what a task has.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Warmth {
    /// A task of the same session.
    pub session_here: bool,
    /// The share of the beginnings by which the prompt is known, from 0 to 1; 0 for a prompt of less than 128 bytes.
    pub prefix_share: f64,
}

impl Worker {
    pub(super) fn new(info: WorkerInfo, condition: Condition, now: u64) -> Self {
        Self {
            view: WorkerView {
                foreign: info.busy,
                info,
                condition,
                drained: false,
                running: 0,
                tokens: 0,
                breaker: Breaker::default(),
                busy_until: 0,
                heard: now,
            },
            busy_answers: 0,
            warm: Warm::default(),
        }
    }

    pub fn warmth(&self, task: &TaskView) -> Warmth {
        let known = task.prefixes.iter().rposition(|&p| self.warm.knows(p));
        Warmth {
            session_here: task.session.is_some_and(|s| self.warm.knows(s)),
            prefix_share: known.map_or(0.0, |at| (at + 1) as f64 / task.prefixes.len() as f64),
        }
    }
}

impl WorkerView {
    /// Slots that nobody uses.
    pub fn free_slots(&self) -> u32 {
        self.info.slots.saturating_sub(self.running + self.foreign)
    }

    /// It would take a task now, if it had a free slot.
    pub fn is_usable(&self, now: u64) -> bool {
        let closed = matches!(self.breaker.state(now), State::Closed | State::HalfOpen);
        self.condition == Condition::Ready && !self.drained && closed && now >= self.busy_until
    }

    /// The end of its pause; in the past when there is none.
    pub(super) fn paused_until(&self) -> u64 {
        self.breaker.open_until().max(self.busy_until)
    }

    /// It takes tasks, or can be expected to soon.
    pub fn has_future(&self) -> bool {
        self.condition.has_future() && !self.drained
    }
}

/// The prefixes and sessions that a worker was given lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Warm {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

/// Hashes that are kept for one worker.
const WARM: usize = 4096;

impl Warm {
    pub fn knows(&self, hash: u64) -> bool {
        self.known.contains(&hash)
    }

    pub fn add(&mut self, hash: u64) {
        if !self.known.insert(hash) {
            return;
        }
        self.order.push_back(hash);
        if self.order.len() > WARM
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_prefixes_are_remembered() {
        let mut warm = Warm::default();
        for hash in 0..10_000 {
            warm.add(hash);
            warm.add(hash);
        }
        assert_eq!((warm.known.len(), warm.order.len()), (WARM, WARM));
        assert!(warm.knows(9_999) && warm.knows(10_000 - WARM as u64));
        assert!(!warm.knows(9_999 - WARM as u64));
    }
}
