//! What can differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::fit::Estimate;
use pool_core::name::{FleetName, ModelId, PoolName, WorkerId};
use pool_core::observation::{ObservedModel, ObservedWorker};
use pool_core::orchestrator::{ConfigFile, OrchestratorSpec};
use pool_core::registration::BaseUrl;
use pool_core::rpc::Subject;
use pool_core::source::Source;
use pool_core::supply::Rates;
use pool_core::worker::{Canary, WorkerSpec};

use crate::desired::{Content, DesiredConfig, Purpose};
use crate::observed::Unknown;
use crate::plan::Token;
use crate::reason::Reason;

/// All differences of a fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub fleet: FleetName,
    /// The models that some pool should have, and most milliseconds that nobody may serve each.
    pub declared: BTreeMap<ModelId, Option<u64>>,
    pub pools: BTreeMap<PoolName, PoolDrift>,
    /// Where the orchestrator should run.
    pub orchestrator: Option<PoolName>,
    pub warnings: Vec<String>,
}

/// How one pool differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PoolDrift {
    Unknown(Unknown),
    Known(Box<KnownDrift>),
}

/// The differences of a pool that answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KnownDrift {
    pub binaries: Option<Binaries>,
    /// No hive runs there: of its models and workers nothing is known.
    pub is_bare: bool,
    /// A hive is there that does not run, so what the pool runs is not known.
    pub unseen: Option<String>,
    pub models: BTreeMap<ModelId, ModelDrift>,
    pub workers: BTreeMap<WorkerAddress, WorkerDrift>,
    /// Things that stay as they are, but for how they are kept.
    pub updates: Vec<Update>,
    pub extra_workers: Vec<(ObservedWorker, Reason)>,
    pub extra_models: Vec<(ObservedModel, Reason)>,
    /// What is not declared and stays, because it is protected.
    pub protected_workers: Vec<ObservedWorker>,
    pub protected_models: Vec<ModelId>,
    pub orchestrator: Option<OrchestratorDrift>,
    /// The files that it is given and that hold something else.
    pub configs: Vec<ConfigDrift>,
    pub link: Option<LinkDrift>,
    /// The workers of the fleet that serve.
    pub serving: Vec<Serving>,
    pub purpose: Purpose,
    /// All live workers and their models, whoever owns them.
    pub running: Vec<(WorkerId, ModelId)>,
    /// Memory that a new worker could take, by device; empty where no hive has said.
    pub available: BTreeMap<Device, u64>,
    /// Memory that the live workers of the fleet take, where it is known.
    pub held: BTreeMap<WorkerId, u64>,
    /// The pool is the operator's own machine.
    pub is_local: bool,
    /// Contents that are there, checked, and as they were then.
    pub contents: BTreeSet<Sha256>,
    /// Bytes that came already of contents that are on their way.
    pub arrived: BTreeMap<Sha256, u64>,
    /// The models of the pool and the contents that each names, where models are extra.
    pub named: BTreeMap<ModelId, BTreeSet<Sha256>>,
    /// Contents that are there and were touched since they were checked.
    pub touched: BTreeSet<Sha256>,
    /// None where the pool has not said.
    pub disk_free: Option<u64>,
    pub rates: Rates,
}

/// The pool's programs are not the ones that this rbee brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binaries {
    Install {
        target: String,
        from: Option<Sha256>,
        to: Sha256,
        reason: Reason,
    },
    /// There is nothing that runs on such a machine.
    NoBuild { why: String },
}

/// A model is not on the pool as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelDrift {
    Bring {
        source: Source,
        content: Arc<Content>,
        reason: Reason,
        protect: bool,
        /// A worker that is as it should be serves it.
        in_use: bool,
        /// What is there in its place, see [`pool_core::facts::model`].
        was: Option<Sha256>,
    },
    Blocked {
        why: String,
    },
}

/// A worker is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkerDrift {
    Spawn {
        spec: Box<WorkerSpec>,
        /// The memory that it takes; none where its process is there already.
        need: Option<Estimate>,
        /// The processes at its address that must go.
        old: Vec<OldWorker>,
        reason: Reason,
        canary: Canary,
        protect: bool,
        /// What is at its address, see [`pool_core::facts::place`].
        was: Option<Sha256>,
    },
    Blocked {
        why: String,
    },
}

/// The orchestrator is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrchestratorDrift {
    Start {
        spec: Box<OrchestratorSpec>,
        /// One runs that must stop first.
        replaces: bool,
        reason: Reason,
        /// What is there, see [`pool_core::facts::orchestrator`].
        was: Option<Sha256>,
    },
    /// It is there and should not be.
    Stop {
        reason: Reason,
        was: Sha256,
    },
    Blocked {
        why: String,
    },
}

/// A file that the orchestrator is given holds something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigDrift {
    pub file: ConfigFile,
    pub wanted: DesiredConfig,
    pub was: Option<Sha256>,
}

/// What the workers of the pool know of their orchestrator is not what they should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkDrift {
    Write {
        orchestrator: Option<BaseUrl>,
        token: Token,
        reason: Reason,
        /// What is there, see [`pool_core::facts::link`].
        was: Option<Sha256>,
    },
    Remove {
        reason: Reason,
        was: Sha256,
    },
}

/// A process that a new one takes the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldWorker {
    pub id: WorkerId,
    /// It answers requests now: stopping it is felt.
    pub serving: bool,
    /// Bytes of its device that it gives back.
    pub frees: u64,
    /// How long the new one takes to load, in milliseconds, judged by how long this one took.
    pub load_ms: Option<u64>,
    /// What it is, where the pool could start it again now.
    pub spec: Option<Box<WorkerSpec>>,
    /// See [`pool_core::facts::worker`].
    pub was: Sha256,
}

/// A thing that is kept otherwise than it should be, and changes in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    pub subject: Subject,
    /// Of a worker.
    pub address: Option<WorkerAddress>,
    /// Whether it is to be protected.
    pub protect: bool,
    /// Its fingerprint.
    pub was: Sha256,
}

/// A worker of the fleet that answers requests now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Serving {
    pub worker: WorkerId,
    pub address: WorkerAddress,
    pub model: ModelId,
}

impl KnownDrift {
    /// Bytes that stopping a worker of the fleet gives back to its device, as far as it is known.
    pub fn frees(&self, worker: &WorkerId) -> u64 {
        self.held.get(worker).copied().unwrap_or_default()
    }
}
