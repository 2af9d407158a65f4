//! What a worker is.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pool_core::device::Device;
use pool_core::name::{ModelId, WorkerId};

use crate::faults::Faults;

/// A worker and the pace of its answers.
#[derive(Debug, Clone)]
pub struct Settings {
    pub worker_id: WorkerId,
    pub model: ModelId,
    pub device: Device,
    /// Where it listens: a free port of 127.0.0.1 if not said.
    pub listen: SocketAddr,
    /// Answers at the same time, at least 1.
    pub slots: u32,
    /// Requests that may wait for a slot.
    pub waiting: usize,
    /// Most tokens of prompt and answer together.
    pub context: u64,
    /// Tokens a second of each answer; 0 for as fast as they are taken, one piece of the body each.
    pub rate: f64,
    /// From a slot to the first token.
    pub first_token: Duration,
    /// Bytes of a token's text, more where its number needs more.
    pub token_bytes: usize,
    /// Tokens of an answer whose request does not say.
    pub answer: u64,
    /// Fields that requests under `/v1/` may have and that say nothing; others that are not known are refused.
    pub ignored_fields: Vec<String>,
    /// What clients have to show; nothing when absent.
    pub token: Option<String>,
    /// How long a stream may be silent before a comment keeps it open.
    pub keep_alive: Duration,
    /// What is wrong from the start.
    pub faults: Faults,
}

impl Settings {
    /// Four slots, 64 waiting, a context of 4096; answers of 16 tokens of 4 bytes at 100 a second.
    pub fn new(worker_id: WorkerId, model: ModelId) -> Self {
        Self {
            worker_id,
            model,
            device: Device::Cpu,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            slots: 4,
            waiting: 64,
            context: 4096,
            rate: 100.0,
            first_token: Duration::ZERO,
            token_bytes: 4,
            answer: 16,
            ignored_fields: Vec::new(),
            token: None,
            keep_alive: Duration::from_secs(10),
            faults: Faults::default(),
        }
    }
}
