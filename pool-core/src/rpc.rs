//! The protocol between `rbee` and `rbee-hive rpc`.
//!
//! The hive first writes one line, [`GREETING`] followed by a [`Hello`] as JSON. A login shell may
//! print anything before it; the operator's side skips lines up to the greeting. From there both
//! sides speak lines of JSON: [`Call`] on the hive's stdin, [`Reply`] on its stdout. Calls run at
//! the same time; each is answered by any number of progress events and exactly one of `done` or
//! `error`, under its `id`. The hive ends when its stdin closes; what it had begun is left in a
//! state that a later run takes up. A line that is no call is answered by an error under its `id`,
//! or under 0 where it has none.
//!
//! An empty line is a sign of life. Once the hive has heard one it ends when it hears nothing for
//! [`SILENCE`], so that a lock does not outlive an operator whose machine is gone.
//!
//! The one exception to lines is [`Request::Upload`]: the operator's side writes nothing more until
//! it is answered. After [`Event::Send`] exactly `size - offset` raw bytes follow, after an error
//! none. Should the hive refuse the content half-way, it says so at once, and still takes all of
//! these bytes, so that the next call is found behind them.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::WorkerAddress;
use crate::digest::Sha256;
use crate::facts::Fact;
use crate::model::{CatalogEntry, Manifest, ModelFile};
use crate::name::{FleetName, ModelId, WorkerId};
use crate::observation::{Platform, PoolObservation};
use crate::orchestrator::{ConfigFile, OrchestratorRecord, OrchestratorSpec};
use crate::registration::BaseUrl;
use crate::source::Source;
use crate::supply::{HubAccess, HubRepo, Interface, Peer, Secret, Serving};
use crate::worker::{Canary, WorkerRecord, WorkerSpec};

/// Version of this protocol; both sides must speak the same.
pub const PROTOCOL: u32 = 3;

/// How often the operator's side gives a sign of life.
pub const HEARTBEAT: Duration = Duration::from_secs(2);

/// After how long without any the hive takes it for gone: sooner than ssh, after 12 s, tells the operator of a link that was
/// cut, so that the run that heals it finds the pool free.
pub const SILENCE: Duration = Duration::from_secs(10);

/// Starts the hive's first line.
pub const GREETING: &str = "rbee-hive-rpc ";

/// What the hive says first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// The installed build that it belongs to, where it runs from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Sha256>,
}

/// A numbered request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    pub id: u64,
    /// What must still be so when the request changes anything; compared under the pool's lock, refused with
    /// [`ErrorCode::Stale`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expect: Vec<Fact>,
    #[serde(flatten)]
    pub request: Request,
}

/// What a hive can be asked. Each mutation takes the pool's lock while it writes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", content = "params", rename_all = "snake_case")]
pub enum Request {
    /// What the pool is and has. Changes nothing.
    Observe,
    /// Keep everybody else from applying to the pool, until this call is cancelled or the connection ends. Answered by
    /// [`Event::Locked`], or by an error with [`ErrorCode::Locked`] that names the holder.
    Lock { holder: Holder },
    /// Enter a model, not yet downloaded, into the catalog, or replace the entry of the same owner.
    /// Done: [`Outcome::Missing`], the files whose content the pool does not have.
    Register { entry: Box<CatalogEntry> },
    /// Bring what the pool lacks of a registered model: each content from the first peer that gives it, else from the
    /// hub. Done: [`Outcome::Fetched`].
    Fetch {
        model: ModelId,
        peers: Vec<Peer>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hub: Option<HubRepo>,
        /// No more bytes than this come from the hub, whatever peers fail to give.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        most_from_hub: Option<u64>,
    },
    /// Give these contents, those of them that are here, to whoever has the token. Answered by [`Event::Serving`]; it
    /// ends when it is cancelled.
    Serve {
        contents: Vec<Sha256>,
        interface: Interface,
    },
    /// What a source of the hub is now: its commit and the files that are needed of it. Touches nothing of the pool.
    Resolve { source: Source, access: HubAccess },
    /// End another call of this connection. What it had begun is left in a state that a later call takes up; it is
    /// answered by an error with [`ErrorCode::Cancelled`].
    Cancel { call: u64 },
    /// Store the content of one file. Answered by [`Event::Send`], then raw bytes follow.
    Upload { sha256: Sha256, size: u64 },
    /// All content is there: check it, lay out the model's folder, mark it downloaded.
    Publish { model: ModelId },
    /// Take a model out of the catalog, and its content away where nothing else uses it.
    Unregister {
        model: ModelId,
        owner: Option<FleetName>,
    },
    /// Start a worker and wait until it answered a real request. Where a live worker with the same
    /// address and spec is there already, wait for that one.
    Spawn {
        spec: Box<WorkerSpec>,
        #[serde(default)]
        canary: Canary,
        #[serde(default)]
        protect: bool,
    },
    /// Set whether a thing of `owner` is protected. Done: [`Outcome::Changed`].
    Protect {
        subject: Subject,
        owner: FleetName,
        protect: bool,
    },
    /// Give a thing that belongs to no fleet to one; a worker stands at `address` from then on. Done: [`Outcome::Changed`].
    Adopt {
        subject: Subject,
        owner: FleetName,
        address: Option<WorkerAddress>,
    },
    /// Stop a worker that belongs to `owner` and forget it: SIGTERM, the deadline, SIGKILL. One that is protected and
    /// lives is stopped for its fleet only where another takes its place.
    Stop {
        worker: WorkerId,
        owner: Option<FleetName>,
        deadline_s: u32,
        /// A spawn at the same address follows.
        #[serde(default)]
        for_spawn: bool,
    },
    /// Start the orchestrator of a fleet and wait until it is ready. A live one that is as it should be is waited for;
    /// another is stopped first, and started again where the new one does not become ready.
    StartOrchestrator { spec: Box<OrchestratorSpec> },
    /// Store a file that the orchestrator of a fleet reads. Done: [`Outcome::Changed`].
    Configure {
        fleet: FleetName,
        file: ConfigFile,
        content: Secret,
    },
    /// Stop the orchestrator of a fleet and forget it, with the tasks that it keeps. Done: [`Outcome::Changed`].
    StopOrchestrator { fleet: FleetName },
    /// Let the workers of a fleet know their orchestrator. Without a token the pool keeps its own, or makes one.
    /// Done: [`Outcome::Changed`].
    Link {
        fleet: FleetName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        orchestrator: Option<BaseUrl>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<Secret>,
    },
    /// Take the link of a fleet away, with its token. Done: [`Outcome::Changed`].
    Unlink { fleet: FleetName },
    /// The token of a fleet, for another pool of it. Done: [`Outcome::Token`].
    Token { fleet: FleetName },
    /// Run `rbee-hive` with these arguments. Done: [`Outcome::Exit`].
    Command {
        argv: Vec<String>,
        #[serde(default)]
        access: HubAccess,
    },
}

/// Who keeps a pool locked, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// `USER@HOST` of the operator.
    pub who: String,
    pub fleet: FleetName,
    /// Such as `rbee apply`.
    pub command: String,
    /// Of the command, on the operator's machine.
    pub pid: u32,
    pub since: Timestamp,
}

/// A thing of a pool that can have an owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    Model(ModelId),
    Worker(WorkerId),
}

/// An event under the id of its call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub id: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// What a hive answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
pub enum Event {
    /// Where the work is.
    Progress(Progress),
    /// Send the content from this offset on; before it, the pool has it already.
    Send {
        offset: u64,
    },
    /// The lock is held from now on.
    Locked,
    /// The contents can be had from now on.
    Serving(Serving),
    /// A line that [`Request::Command`] printed, without its line end.
    Output {
        stream: Stream,
        line: String,
    },
    Done(Box<Outcome>),
    Error(HiveError),
}

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub message: String,
    /// 0–100, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Moved>,
}

/// How much content is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub done: u64,
    pub total: u64,
}

/// Where a line was printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// The result of a call that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "value", rename_all = "snake_case")]
pub enum Outcome {
    Observed(PoolObservation),
    Missing(Vec<ModelFile>),
    Fetched(Fetched),
    Resolved(Resolved),
    Cancelled,
    Stored,
    Published(CatalogEntry),
    Unregistered,
    Spawned(WorkerRecord),
    Stopped(WorkerRecord),
    Started(OrchestratorRecord),
    Token(Secret),
    Changed,
    Exit(i32),
}

/// What a fetch brought.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetched {
    /// Bytes of contents that came from the hub.
    pub from_hub: u64,
    /// Bytes of contents that came from other pools.
    pub from_pools: u64,
    /// The files whose content neither of them gave.
    pub missing: Vec<ModelFile>,
    /// What went wrong on the way and was got around.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What a source of the hub is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The commit that the revision means now.
    pub commit: String,
    pub manifest: Manifest,
}

/// A refused or failed call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct HiveError {
    pub code: ErrorCode,
    /// What was wrong and where.
    pub message: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// The kinds of failure that the operator's side tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request makes no sense to this hive.
    BadRequest,
    /// What the request names is not there.
    NotFound,
    /// It belongs to another fleet, or to a person.
    NotOwned,
    /// It is protected, and its fleet would take it away.
    Protected,
    /// Somebody else applies to the pool.
    Locked,
    /// What a plan relied on is no longer so.
    Stale,
    /// A running worker uses it.
    InUse,
    /// A file of the pool does not parse; it was left as it is.
    Corrupt,
    /// The disk is full.
    DiskFull,
    /// Content is not what it was said to be.
    WrongContent,
    /// The hub or a mirror of it does not let this token in.
    HubRefused,
    /// The hub or a mirror of it does not answer as one does.
    HubFailed,
    /// More would have to come from the hub than may.
    TooMuch,
    /// Another call ended it.
    Cancelled,
    /// The worker, or the orchestrator, did not become ready.
    WorkerFailed,
    /// The worker answered its test request wrongly.
    GateFailed,
    /// Anything else that the system refused.
    Io,
}
