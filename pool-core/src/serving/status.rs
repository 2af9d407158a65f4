//! What a worker says of itself: `GET /health` and `GET /ready`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::{Backend, Device};
use crate::digest::Sha256;
use crate::name::{ModelId, WorkerId};

/// `GET /health`: always 200 while the process lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    pub status: Phase,
    pub worker_id: WorkerId,
    pub model: ModelId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<Sha256>,
    pub backend: Backend,
    pub device: Device,
    pub uptime_s: u64,
    pub slots: Slots,
    pub memory: MemoryUse,
    /// Microseconds that one token of one request took lately; absent before 16 were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us_per_token: Option<u64>,
}

/// Where a worker process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It reads the model.
    Loading,
    /// It serves.
    Ready,
    /// It finishes what runs and takes nothing more.
    Draining,
}

/// Requests that can run, and those that do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Slots {
    pub total: u32,
    pub busy: u32,
}

/// Memory of the device in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryUse {
    pub weights: u64,
    /// Keys and values of the requests that run.
    pub kv: u64,
    pub total: u64,
}

/// `GET /ready`: 200 when a request would be served now, else 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    pub status: Phase,
    /// How much of the model is loaded, 0–100; absent once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub percent: Option<u8>,
    /// A running request made no step for so long that nothing new is served.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stalled: bool,
}
