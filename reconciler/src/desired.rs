//! What should be, fully explicit: every model and every worker of every pool.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::model::Manifest;
use pool_core::name::{FleetName, ModelId, PoolName};
use pool_core::source::Source;
use pool_core::weights::{Dtype, Quantization};
use pool_core::worker::{Canary, Supervise, WorkerSpec};
use serde::{Deserialize, Serialize};

/// The state that a fleet asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    pub fleet: FleetName,
    pub purpose: Purpose,
    pub builds: Builds,
    /// Every model of the file, used or not, and whether it is protected.
    pub declared: BTreeMap<ModelId, bool>,
    pub pools: BTreeMap<PoolName, DesiredPool>,
}

/// For each target triple the build that can be installed, or why there is none.
pub type Builds = BTreeMap<String, Result<Sha256, String>>;

/// Why the state is asked for; it is what reports say of things that go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To be as fleet.yaml says.
    #[default]
    Apply,
    /// To have nothing left of the fleet.
    Destroy,
}

/// What one pool should have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredPool {
    /// It is the operator's own machine.
    pub is_local: bool,
    pub models: BTreeMap<ModelId, DesiredModel>,
    pub workers: BTreeMap<WorkerAddress, DesiredWorker>,
}

/// A model that a worker of the pool serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredModel {
    pub source: Source,
    /// Its files, or why they are not known.
    pub content: Result<Arc<Content>, String>,
    pub protect: bool,
    /// Most milliseconds that nobody may serve it while a plan is carried out.
    pub max_outage_ms: Option<u64>,
}

/// What a model is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Of a source of the hub, the commit that the files are of.
    pub commit: Option<String>,
    pub manifest: Manifest,
    /// Of the manifest.
    digest: Sha256,
}

impl Content {
    pub fn new(commit: Option<String>, manifest: Manifest) -> Self {
        Self {
            digest: manifest.digest(),
            commit,
            manifest,
        }
    }

    pub fn digest(&self) -> Sha256 {
        self.digest
    }
}

/// A worker, but for the digest of its model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredWorker {
    pub model: ModelId,
    pub device: Device,
    pub slots: u32,
    pub context: Option<u32>,
    pub dtype: Dtype,
    pub quantize: Option<Quantization>,
    pub advertise: Option<IpAddr>,
    pub supervise: Supervise,
    /// What must be answered before it counts as ready.
    pub canary: Canary,
    pub protect: bool,
}

impl Desired {
    /// The state in which nothing of the fleet is left on its pools.
    pub fn nothing(fleet: FleetName, pools: impl IntoIterator<Item = PoolName>) -> Self {
        let pools = pools.into_iter().map(|pool| (pool, DesiredPool::default()));
        Self {
            fleet,
            purpose: Purpose::Destroy,
            builds: Builds::new(),
            declared: BTreeMap::new(),
            pools: pools.collect(),
        }
    }
}

impl DesiredWorker {
    /// The full spec of this worker, serving the model content with this digest.
    pub fn spec(
        &self,
        fleet: &FleetName,
        address: &WorkerAddress,
        model_digest: Sha256,
    ) -> WorkerSpec {
        WorkerSpec {
            address: Some(address.clone()),
            fleet: Some(fleet.clone()),
            model: self.model.clone(),
            model_digest,
            device: self.device,
            slots: self.slots,
            context: self.context,
            dtype: self.dtype,
            quantize: self.quantize,
            advertise: self.advertise,
            supervise: self.supervise,
        }
    }
}
