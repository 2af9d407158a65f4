//! What should be, fully explicit: every model, every worker and the orchestrator of every pool.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::model::Manifest;
use pool_core::name::{FleetName, ModelId, PoolName};
use pool_core::orchestrator::{ConfigFile, OrchestratorSpec};
use pool_core::registration::BaseUrl;
use pool_core::source::Source;
use pool_core::weights::{Dtype, Quantization};
use pool_core::worker::{Canary, Supervise, WorkerSpec};
use serde::{Deserialize, Serialize};

use crate::reason::Reason;

/// The state that a fleet asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Desired {
    pub fleet: FleetName,
    pub purpose: Purpose,
    pub builds: Builds,
    /// Every model of the file, used or not, and whether it is protected.
    pub declared: BTreeMap<ModelId, bool>,
    pub pools: BTreeMap<PoolName, DesiredPool>,
    /// Where the orchestrator should run.
    pub home: Option<PoolName>,
    /// What an operator should know of it before anything is asked.
    pub warnings: Vec<String>,
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
    /// On one pool of the fleet at most.
    pub orchestrator: Option<OrchestratorSpec>,
    /// The files that it is given.
    pub configs: BTreeMap<ConfigFile, DesiredConfig>,
    pub link: DesiredLink,
}

/// A file of the operator's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredConfig {
    /// Relative to fleet.yaml.
    pub path: String,
    /// Of what it holds.
    pub digest: Sha256,
}

/// What the workers of a pool should know of their orchestrator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum DesiredLink {
    /// There is nobody of the fleet who would.
    #[default]
    None,
    /// The fleet has no orchestrator. What token there is stays: workers with an address ask for it.
    Own,
    /// The token that all of the fleet have, and where workers register; nowhere where they could not be reached.
    Fleet(Option<BaseUrl>),
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
    /// It exists only while it is tested.
    pub ephemeral: bool,
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
            home: None,
            warnings: Vec::new(),
        }
    }

    /// Why what it does not name goes.
    pub(crate) fn gone(&self) -> Reason {
        match self.purpose {
            Purpose::Apply => Reason::NotDeclared,
            Purpose::Destroy => Reason::Destroyed,
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
            ephemeral: self.ephemeral,
        }
    }
}
