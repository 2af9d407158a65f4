//! What a worker should be, and what one is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::WorkerAddress;
use crate::device::Device;
use crate::digest::Sha256;
use crate::name::{FleetName, ModelId, WorkerId};
use crate::weights::{Dtype, Quantization};

/// Everything that decides what one worker process is. Two workers with equal specs are alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerSpec {
    /// Where it stands in its fleet; none when a person spawned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<WorkerAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetName>,
    pub model: ModelId,
    pub model_digest: Sha256,
    pub device: Device,
    /// Requests served at the same time.
    pub slots: u32,
    /// Most tokens of prompt and answer together; the model's own limit when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u32>,
    /// How weights that are not quantised are kept. `auto` is not written, so that it leaves the hash alone.
    #[serde(default, skip_serializing_if = "Dtype::is_auto")]
    pub dtype: Dtype,
    /// What matrices are quantised to while they are loaded; as the files have them when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantize: Option<Quantization>,
    /// The address to listen on; loopback when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<IpAddr>,
    /// Who starts it again when it ends by itself.
    #[serde(default, skip_serializing_if = "Supervise::is_none")]
    pub supervise: Supervise,
    /// It exists only while it is tested, and registers with no orchestrator.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ephemeral: bool,
}

/// Who starts a worker again after a crash or a boot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Supervise {
    /// Nobody, but for the next apply.
    #[default]
    None,
    /// systemd's manager of the user.
    Systemd,
    /// launchd's domain of the user.
    Launchd,
}

impl Supervise {
    /// The names, as fleet.yaml has them.
    pub const ALL: [Self; 3] = [Self::None, Self::Systemd, Self::Launchd];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Systemd => "systemd",
            Self::Launchd => "launchd",
        }
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

/// The text names no supervisor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no supervisor: none, systemd or launchd")]
pub struct InvalidSupervise(pub String);

impl std::str::FromStr for Supervise {
    type Err = InvalidSupervise;

    fn from_str(text: &str) -> Result<Self, InvalidSupervise> {
        let mut all = Self::ALL.into_iter();
        all.find(|supervise| supervise.as_str() == text)
            .ok_or_else(|| InvalidSupervise(text.to_owned()))
    }
}

impl std::fmt::Display for Supervise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// The question that a worker must answer before it counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Canary {
    pub prompt: String,
    /// The text that the answer must hold; any text will do when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<String>,
    pub max_tokens: u32,
}

impl Canary {
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self {
            prompt: "What is the capital of France?".into(),
            expect: None,
            max_tokens: 8,
        }
    }
}

impl WorkerSpec {
    /// SHA-256 of the spec as JSON: differs when any field does.
    pub fn hash(&self) -> Sha256 {
        Sha256::of_json(self)
    }

    pub fn listen_ip(&self) -> IpAddr {
        self.advertise.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }
}

/// `workers/<id>.json` of a pool: one worker process, from the moment before it is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerRecord {
    pub version: u32,
    pub id: WorkerId,
    pub spec_hash: Sha256,
    #[serde(flatten)]
    pub spec: WorkerSpec,
    pub listen: SocketAddr,
    /// The process, once it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessIdentity>,
    pub started_at: Timestamp,
    pub state: WorkerState,
    /// Its log file on the pool.
    pub log: String,
    /// The program that was started, by absolute path: an upgrade leaves it in place.
    pub program: String,
    /// Bytes of its device that it takes, once it was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// It is not stopped for a fleet that no longer names it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub protect: bool,
    /// Milliseconds from its start until it had answered a request; none before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<u64>,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl WorkerRecord {
    /// The version that this build reads and writes.
    pub const VERSION: u32 = 1;
}

/// A process that cannot be mistaken for a later one with the same pid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProcessIdentity {
    pub pid: u32,
    /// Start time in the kernel's own unit (clock ticks since boot on Linux, microseconds on macOS).
    pub pid_started_at: u64,
    /// Names one boot of the machine.
    pub boot_id: String,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WorkerState {
    /// Started; no request has been answered yet.
    Starting,
    /// It answered a real request.
    Ready,
    /// Told to stop; finishing what runs.
    Draining,
    /// It ended by itself, or never became ready.
    Failed,
    /// It was stopped.
    Stopped,
}

impl WorkerState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl std::fmt::Display for WorkerState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
