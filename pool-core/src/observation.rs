//! What a pool says of itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::device::{Backend, Device};
use crate::digest::Sha256;
use crate::model::CatalogEntry;
use crate::name::FleetName;
use crate::orchestrator::{ConfigFile, OrchestratorRecord};
use crate::path::FilePath;
use crate::registration::BaseUrl;
use crate::serving::Slots;
use crate::supply::Rates;
use crate::worker::{WorkerRecord, WorkerState};

/// A pool's answer to `observe`: facts, no judgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolObservation {
    pub hostname: String,
    pub platform: Platform,
    /// Where the pool keeps its state.
    pub home: String,
    /// The same for two ways to one folder of one machine, until that boots; none where it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home_id: Option<String>,
    /// The installed binaries that this hive belongs to; none when it runs from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Sha256>,
    pub hive_version: String,
    /// None where it cannot be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free_bytes: Option<u64>,
    /// The pool's own address that the operator reached it by; none for the operator's machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    #[serde(default)]
    pub rates: Rates,
    pub memory: Memory,
    pub devices: Vec<DeviceInfo>,
    /// Why no NVIDIA card is among the devices, where the machine may have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_cuda: Option<String>,
    pub models: Vec<ObservedModel>,
    /// Bytes that came already of contents that are on their way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub arrived: BTreeMap<Sha256, u64>,
    pub workers: Vec<ObservedWorker>,
    /// At most one of each fleet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub orchestrators: Vec<ObservedOrchestrator>,
    /// What the workers of each fleet know of their orchestrator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub links: BTreeMap<FleetName, ObservedLink>,
    /// The files that the orchestrator of each fleet is given.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub configs: BTreeMap<FleetName, BTreeMap<ConfigFile, Sha256>>,
}

impl PoolObservation {
    /// Why nothing can compute there; none where the pool has the device.
    pub fn lacks(&self, device: Device) -> Option<String> {
        if self.devices.iter().any(|info| info.device == device) {
            return None;
        }
        let has = self.devices.iter().map(|info| info.device.to_string());
        let has: Vec<String> = has.collect();
        let mut why = format!("there is no device {device}: it has {}", has.join(", "));
        let is_cuda = |info: &DeviceInfo| info.device.backend() == Backend::Cuda;
        match (device.backend(), &self.no_cuda) {
            (Backend::Cuda, Some(no_cuda)) => why += &format!("; {no_cuda}"),
            (Backend::Cuda, None) if !self.devices.iter().any(is_cuda) => {
                why += "; NVIDIA's driver shows no card there, or is not installed";
            }
            _ => {}
        }
        Some(why)
    }
}

/// A recorded orchestrator and whether its process lives and answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedOrchestrator {
    #[serde(flatten)]
    pub record: OrchestratorRecord,
    /// The installed build that its program belongs to; none when it runs from elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Sha256>,
    /// A process with the recorded identity exists.
    pub alive: bool,
    /// `/ready` answered 200 just now.
    pub answers: bool,
}

impl ObservedOrchestrator {
    /// It was ready once, lives, and would take a request now.
    pub fn is_serving(&self) -> bool {
        self.alive && self.answers && self.record.state == WorkerState::Ready
    }

    /// The word for how it is, as of a worker.
    pub fn condition(&self) -> &'static str {
        condition(self.alive, self.answers, self.record.state)
    }
}

/// The link file of a fleet, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedLink {
    /// Where workers register; nowhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orchestrator: Option<BaseUrl>,
    /// Tells one token from another: see [`FleetLink::fingerprint`](crate::registration::FleetLink::fingerprint).
    pub token: Sha256,
}

/// Operating system and processor, as `uname` names them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Platform {
    /// `uname -s`, such as `Linux` or `Darwin`.
    pub os: String,
    /// `uname -m`, such as `x86_64` or `arm64`.
    pub arch: String,
}

impl Platform {
    /// The Rust target triple whose binaries run there; none for a platform that rbee is not built for.
    pub fn target(&self) -> Option<&'static str> {
        match (self.os.as_str(), self.arch.as_str()) {
            ("Linux", "x86_64") => Some("x86_64-unknown-linux-gnu"),
            ("Linux", "aarch64" | "arm64") => Some("aarch64-unknown-linux-gnu"),
            ("Darwin", "arm64") => Some("aarch64-apple-darwin"),
            ("Darwin", "x86_64") => Some("x86_64-apple-darwin"),
            _ => None,
        }
    }
}

impl std::fmt::Display for Platform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.os, self.arch)
    }
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    pub total: u64,
    /// What a program started now could take, beside what the workers there have asked for and not touched yet.
    pub available: u64,
}

/// A device that the pool has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeviceInfo {
    pub device: Device,
    /// Such as the processor's name.
    pub name: String,
    /// Its own; of a GPU that has none, the machine's.
    pub memory: Memory,
    /// How many a worker there computes with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
    /// The CUDA compute capability of a card, such as `9.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<String>,
    /// The version of its driver, such as `580.82.07`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

/// A catalogued model and which of its files are not as the catalog says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedModel {
    #[serde(flatten)]
    pub entry: CatalogEntry,
    /// Files that are missing or have another size than they should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<FilePath>,
    /// Files that were written or replaced since their content was checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<FilePath>,
}

impl ObservedModel {
    /// All files were checked, and nothing has touched them since.
    pub fn is_whole(&self) -> bool {
        self.entry.downloaded && self.damaged.is_empty() && self.touched.is_empty()
    }

    /// The word for how it is.
    pub fn condition(&self) -> &'static str {
        if !self.entry.downloaded {
            "incomplete"
        } else if !self.damaged.is_empty() {
            "damaged"
        } else if !self.touched.is_empty() {
            "touched"
        } else {
            "downloaded"
        }
    }
}

/// A recorded worker and whether its process lives and answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ObservedWorker {
    #[serde(flatten)]
    pub record: WorkerRecord,
    /// A process with the recorded identity exists.
    pub alive: bool,
    /// `/ready` answered 200 just now.
    pub answers: bool,
    /// What it says of itself, where it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<WorkerHealth>,
}

/// The part of a worker's `GET /health` that people look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerHealth {
    pub slots: Slots,
    /// Bytes that it takes of its device.
    pub memory: u64,
    /// Microseconds that one token of one request took lately; none before 16 were measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us_per_token: Option<u64>,
}

impl ObservedWorker {
    /// It answered a real request once, lives, and would serve one now.
    pub fn is_serving(&self) -> bool {
        self.alive && self.answers && self.record.state == WorkerState::Ready
    }

    /// The word for how it is: `dead` when its process ended by itself after it was ready.
    pub fn condition(&self) -> &'static str {
        condition(self.alive, self.answers, self.record.state)
    }
}

fn condition(alive: bool, answers: bool, state: WorkerState) -> &'static str {
    match (alive, state) {
        (true, WorkerState::Ready) if !answers => "not answering",
        (true, state) | (false, state @ (WorkerState::Failed | WorkerState::Stopped)) => {
            state.as_str()
        }
        (false, _) => "dead",
    }
}
