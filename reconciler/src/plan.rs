//! Ordered actions that remove a drift. A value: reports show it, apply carries it out.

use std::collections::BTreeMap;
use std::fmt;

use pool_core::address::WorkerAddress;
use pool_core::digest::Sha256;
use pool_core::facts::Fact;
use pool_core::model::{Manifest, ModelFile};
use pool_core::name::{FleetName, ModelId, PoolName, WorkerId};
use pool_core::orchestrator::{ConfigFile, OrchestratorSpec};
use pool_core::registration::BaseUrl;
use pool_core::rpc::Subject;
use pool_core::source::Source;
use pool_core::worker::{Canary, WorkerSpec};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::observed::Unknown;
use crate::reason::Reason;
use crate::targets::Targets;

/// What would be done, in an order in which it can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Plan {
    pub version: u32,
    pub fleet: FleetName,
    pub actions: Vec<Action>,
    /// What should be done and cannot.
    pub blocked: Vec<Blocked>,
    /// Pools of which nothing is known; no action names them.
    pub unknown: Vec<UnknownPool>,
    pub warnings: Vec<String>,
    /// Models that are served now and would not be for a while.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outages: Vec<Outage>,
    /// What bringing the models takes, for each pool that brings any.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bills: BTreeMap<PoolName, Bill>,
    /// What else is to be done in the fleet, where only a part of it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_out: Option<LeftOut>,
}

impl Plan {
    /// The version of the plan's JSON form.
    pub const VERSION: u32 = 1;

    pub fn is_empty(&self) -> bool {
        self.actions.is_empty()
    }

    /// The action with this id; ids are positions.
    pub fn action(&self, id: ActionId) -> Option<&Action> {
        self.actions.get(id.0 as usize)
    }

    /// Bytes that come from the hub, for all pools.
    pub fn download_bytes(&self) -> u64 {
        self.bills.values().map(|bill| bill.from_hub).sum()
    }

    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for action in &self.actions {
            match &action.kind {
                ActionKind::Install { .. } => totals.install += 1,
                ActionKind::Register { .. } => totals.register += 1,
                ActionKind::Fetch { files, .. } => {
                    match Way::of(files) {
                        Way::Download => totals.download += 1,
                        Way::Copy => totals.copy += 1,
                        Way::Check => totals.check += 1,
                    }
                    for file in files {
                        match file.from {
                            Supply::Here => {}
                            Supply::Hub => totals.download_bytes += file.bytes(),
                            Supply::Pool(_) | Supply::Operator => {
                                totals.copy_bytes += file.bytes();
                            }
                        }
                    }
                }
                ActionKind::Spawn { replaces: None, .. }
                | ActionKind::StartOrchestrator {
                    replaces: false, ..
                } => totals.spawn += 1,
                ActionKind::Spawn {
                    replaces: Some(_), ..
                }
                | ActionKind::StartOrchestrator { replaces: true, .. } => totals.replace += 1,
                ActionKind::Stop {
                    for_spawn: true, ..
                } => {}
                ActionKind::Stop {
                    for_spawn: false, ..
                }
                | ActionKind::StopOrchestrator => totals.stop += 1,
                ActionKind::Unregister { .. } => totals.remove += 1,
                ActionKind::Update { .. }
                | ActionKind::Link { .. }
                | ActionKind::Unlink
                | ActionKind::Configure { .. } => totals.update += 1,
            }
        }
        totals
    }
}

/// Counts of a plan's actions. A replacement counts once, not as a spawn and a stop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Totals {
    pub install: usize,
    pub register: usize,
    /// Models of which anything comes from the hub.
    pub download: usize,
    /// What comes from the hub.
    pub download_bytes: u64,
    /// Other models of which anything comes.
    pub copy: usize,
    /// What comes from other pools and from the operator, for any model.
    pub copy_bytes: u64,
    /// Models whose files are all there, to be checked and marked.
    pub check: usize,
    /// Workers, and the orchestrator.
    pub spawn: usize,
    pub replace: usize,
    pub stop: usize,
    pub remove: usize,
    /// Things that change in place, links, and files of the orchestrator.
    pub update: usize,
}

/// Names an action within its plan: its position, counted from 0.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct ActionId(pub u32);

/// One step on one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Action {
    pub id: ActionId,
    pub pool: PoolName,
    #[serde(flatten)]
    pub kind: ActionKind,
    pub reason: Reason,
    /// What must have been done before; all of it comes earlier in the plan.
    pub needs: Vec<ActionId>,
    /// What must be over before, whatever came of it; all of it comes earlier in the plan.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<ActionId>,
    /// What it relied on and nothing earlier in the plan changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum ActionKind {
    /// Bring the programs to the pool and make them the current ones.
    Install {
        target: String,
        from: Option<Sha256>,
        to: Sha256,
    },
    /// Enter a model into the pool's catalog.
    Register {
        model: ModelId,
        source: Source,
        /// Of a source of the hub.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        manifest: Manifest,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        protect: bool,
    },
    /// Bring these files and mark the model as downloaded.
    Fetch {
        model: ModelId,
        source: Source,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
        files: Vec<FetchFile>,
    },
    /// Start a worker and wait until it answered a request.
    Spawn {
        spec: Box<WorkerSpec>,
        replaces: Option<Order>,
        #[serde(default, skip_serializing_if = "Canary::is_default")]
        canary: Canary,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        protect: bool,
        /// What served at the address and stops first; it is spawned again when the new one does not become ready.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restore: Option<Box<WorkerSpec>>,
        /// None where its process is there already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fit: Option<Fit>,
    },
    /// Stop a worker and forget it.
    Stop {
        worker: WorkerId,
        address: Option<WorkerAddress>,
        /// It makes place for the worker of a spawn in this plan.
        for_spawn: bool,
    },
    /// Change what a thing is kept as, while it stays as it is.
    Update {
        subject: Subject,
        /// Of a worker.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<WorkerAddress>,
        protect: bool,
    },
    /// Take a model out of the catalog, with the files that nothing else uses.
    Unregister { model: ModelId, bytes: u64 },
    /// Let the workers of the pool know the fleet's token, and its orchestrator.
    Link {
        /// Where they register; nowhere when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        orchestrator: Option<BaseUrl>,
        token: Token,
    },
    /// Take the fleet's token away from the pool.
    Unlink,
    /// Give the orchestrator a file of the operator's, which it reads while it runs.
    Configure {
        file: ConfigFile,
        /// Relative to fleet.yaml.
        path: String,
        /// Of what it holds.
        digest: Sha256,
    },
    /// Start the orchestrator and wait until it is ready.
    StartOrchestrator {
        spec: Box<OrchestratorSpec>,
        /// The one that runs finishes its streams and stops before.
        replaces: bool,
    },
    /// Stop the orchestrator once its streams have ended, and forget it with the tasks that wait.
    StopOrchestrator,
}

/// Which token a pool is to have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Token {
    /// The one that it has; it makes one where it has none.
    Own,
    /// That of this pool.
    Of(PoolName),
}

/// A file that a pool needs, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FetchFile {
    #[serde(flatten)]
    pub file: ModelFile,
    pub from: Supply,
    /// Where it comes from when what is here is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instead: Option<Supply>,
    /// Bytes of it that came already, before they were cut off.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub arrived: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl FetchFile {
    /// Bytes that are still to come.
    pub fn bytes(&self) -> u64 {
        self.file.size.saturating_sub(self.arrived)
    }
}

/// How a fetch is counted and called.
enum Way {
    Download,
    Copy,
    Check,
}

impl Way {
    fn of(files: &[FetchFile]) -> Self {
        if files.iter().any(|file| file.from == Supply::Hub) {
            Self::Download
        } else if files.iter().any(|file| file.from != Supply::Here) {
            Self::Copy
        } else {
            Self::Check
        }
    }
}

/// Where the content of a file comes from. What a pool cannot give, the hub or the operator does.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Supply {
    /// It is here, and was touched since it was checked: it is read again, and brought only when it is wrong.
    Here,
    /// This pool has it, or will have it when its own fetch is over.
    Pool(PoolName),
    Hub,
    /// The folder of the operator's machine.
    Operator,
}

/// What bringing the models of one pool takes, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Bill {
    pub from_hub: u64,
    pub from_pools: u64,
    pub from_operator: u64,
    /// Contents of the wanted models that are there already.
    pub here: u64,
    /// Most bytes that the disk takes up beyond what it does now.
    pub peak_disk: u64,
    /// None where the pool has not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_free: Option<u64>,
    /// Seconds, from the rates last measured there; none where one of them never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
}

/// The memory of a worker against that of its device, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fit {
    pub bytes: u64,
    /// The files of the model do not tell what it takes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_guess: bool,
    /// What is left for it when it starts; none where the pool has not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
}

/// How one worker takes the place of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The new one is ready before the old one stops.
    StartFirst,
    /// The old one stops before the new one starts: both do not fit, or the old one serves nobody.
    StopFirst,
}

/// A model that nobody serves while the plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Outage {
    pub model: ModelId,
    /// The workers that are down.
    pub workers: Vec<WorkerAddress>,
    /// How long, from the load time last measured there; none where none was.
    pub ms: Option<u64>,
    /// How long it may be by fleet.yaml.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_ms: Option<u64>,
}

impl Outage {
    /// It is longer than it may be, or nobody knows how long it is.
    pub fn is_too_long(&self) -> bool {
        self.max_ms
            .is_some_and(|max| self.ms.is_none_or(|ms| ms > max))
    }
}

/// Something that should be done and cannot.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Blocked {
    pub pool: PoolName,
    pub what: String,
    pub why: String,
}

/// A pool that did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnknownPool {
    pub pool: PoolName,
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// What of the plan for the whole fleet is not in the plan for a part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LeftOut {
    /// What was asked for.
    pub targets: Targets,
    pub totals: Totals,
    /// Things that are blocked.
    pub blocked: usize,
    /// Pools of which nothing is known.
    pub unknown: usize,
}

impl Bill {
    /// Bytes that come to the pool.
    pub fn brought(&self) -> u64 {
        self.from_hub + self.from_pools + self.from_operator
    }
}

impl fmt::Display for ActionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Install { to, .. } => write!(f, "install {}", to.short()),
            Self::Register { model, .. } => write!(f, "register {model}"),
            Self::Fetch { model, files, .. } => match Way::of(files) {
                Way::Download => write!(f, "download {model}"),
                Way::Copy => write!(f, "copy {model}"),
                Way::Check => write!(f, "check {model}"),
            },
            Self::Spawn { spec, replaces, .. } => {
                let verb = if replaces.is_some() {
                    "replace"
                } else {
                    "spawn"
                };
                match &spec.address {
                    Some(address) => write!(f, "{verb} {address}"),
                    None => write!(f, "{verb} {} on {}", spec.model, spec.device),
                }
            }
            Self::Stop {
                worker, address, ..
            } => match address {
                Some(address) => write!(f, "stop {address} ({worker})"),
                None => write!(f, "stop {worker}"),
            },
            Self::Update {
                subject, address, ..
            } => match (subject, address) {
                (Subject::Worker(_), Some(address)) => write!(f, "update {address}"),
                (Subject::Worker(worker), None) => write!(f, "update {worker}"),
                (Subject::Model(model), _) => write!(f, "update {model}"),
            },
            Self::Unregister { model, .. } => write!(f, "remove {model}"),
            Self::Link { .. } => f.write_str("link"),
            Self::Unlink => f.write_str("unlink"),
            Self::Configure { file, .. } => write!(f, "configure {file}"),
            Self::StartOrchestrator { replaces, .. } => {
                let verb = if *replaces { "replace" } else { "start" };
                write!(f, "{verb} orchestrator")
            }
            Self::StopOrchestrator => f.write_str("stop orchestrator"),
        }
    }
}

impl fmt::Display for ActionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}
