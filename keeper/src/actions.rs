//! How each kind of action is done on its pool.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};

use pool_core::digest::Sha256;
use pool_core::model::{CatalogEntry, Manifest, ModelFile, Origin};
use pool_core::name::{FleetName, ModelId, PoolName};
use pool_core::observation::PoolObservation;
use pool_core::rpc::{ErrorCode, Event, Moved, Outcome, Request};
use pool_core::source::Source;
use pool_core::supply::{HubAccess, Secret};
use reconciler::plan::{Action, ActionKind, FetchFile, Plan, Token};
use schemars::JsonSchema;
use serde::Serialize;

use crate::allowance::Allowance;
use crate::apply::lock;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fetch::{Brought, Fetch};
use crate::fleet_file::config;
use crate::lease::Leases;
use crate::pools::Link;
use crate::progress::Step;
use crate::transport::{Bundles, CallError, ConnectError, HiveClient, InstallError};

mod install;
mod spawn;

use spawn::Spawn;

/// How long a worker that is told to stop may finish what it does, in seconds.
const STOP_DEADLINE_S: u32 = 10;

/// Why an action failed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fault {
    pub what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// The pool was lost on the way; whether the action was done is not known.
    pub unreachable: bool,
    /// The worker runs and did not answer its test request as it must.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gate: bool,
    /// What the plan relied on is no longer so; nothing was done.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Somebody else applies to the pool.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub locked: bool,
}

/// What is worth knowing of an action that was done.
#[derive(Debug, Default)]
pub struct Done {
    pub detail: String,
    /// Of a fetch, what came.
    pub brought: Option<Brought>,
}

impl From<String> for Done {
    fn from(detail: String) -> Self {
        Self {
            detail,
            brought: None,
        }
    }
}

/// Does actions.
#[derive(Debug)]
pub struct Actor<'a> {
    /// Where folders of models are found from.
    pub folder: &'a Path,
    pub links: &'a BTreeMap<PoolName, Link>,
    pub leases: &'a Leases,
    pub bundles: &'a Bundles,
    pub plan: &'a Plan,
    /// As whom the pools ask the hub.
    pub access: &'a HubAccess,
    /// How much they may take from it.
    pub allowance: Allowance,
    /// The content that each pool said it lacks when a model was registered.
    pub missing: Mutex<HashMap<(PoolName, ModelId), Vec<ModelFile>>>,
}

/// The bytes that an action moves, for its progress.
pub fn bytes(action: &Action) -> Option<u64> {
    match &action.kind {
        ActionKind::Fetch { files, .. } => Some(files.iter().map(FetchFile::bytes).sum()),
        _ => None,
    }
}

impl Actor<'_> {
    /// Does one; on success says what is worth knowing of the result.
    pub async fn act(&self, action: &Action, step: &Step<'_>) -> Result<Done, Fault> {
        let link = self.links.get(&action.pool).ok_or_else(|| Fault {
            what: "the pool was not reached".into(),
            unreachable: true,
            ..Fault::default()
        })?;
        if self.leases.is_lost(&action.pool) {
            return Err(Fault {
                what: "the connection that kept the pool locked is lost".into(),
                unreachable: true,
                ..Fault::default()
            });
        }
        let expect = action.facts.as_slice();
        match &action.kind {
            ActionKind::Install { to, .. } => {
                let installed = self.install(&action.pool, link, *to, step).await;
                installed.map(Done::from)
            }
            ActionKind::Register {
                model,
                source,
                commit,
                manifest,
                protect,
            } => {
                let entry = CatalogEntry {
                    protect: *protect,
                    ..entry(model, &self.plan.fleet, source, commit.as_ref(), manifest)
                };
                let request = Request::Register {
                    entry: Box::new(entry),
                };
                let outcome = hive(link)?.call_while(expect, request, |_| ()).await?;
                let Outcome::Missing(missing) = outcome else {
                    return Err(Fault::odd(&outcome));
                };
                lock(&self.missing).insert((action.pool.clone(), model.clone()), missing);
                Ok(Done::default())
            }
            ActionKind::Fetch {
                model,
                source,
                commit,
                files,
            } => {
                let fetch = Fetch {
                    actor: self,
                    pool: &action.pool,
                    model,
                    source,
                    commit: commit.as_deref(),
                    files,
                    expect,
                };
                fetch.run(&*hive(link)?, step).await
            }
            ActionKind::Spawn {
                spec,
                replaces,
                canary,
                protect,
                restore,
                ..
            } => {
                let spawn = Spawn {
                    spec,
                    replaces: *replaces,
                    restore: restore.as_deref(),
                    canary,
                    protect: *protect,
                    expect,
                };
                spawn.run(&*hive(link)?, step).await
            }
            ActionKind::Stop {
                worker, for_spawn, ..
            } => {
                let request = Request::Stop {
                    worker: worker.clone(),
                    owner: Some(self.plan.fleet.clone()),
                    deadline_s: STOP_DEADLINE_S,
                    for_spawn: *for_spawn,
                };
                let tell = |event| tell(step, event);
                let hive = hive(link)?;
                let answer = hive.call_while(expect, request, tell).await;
                let is_there = |seen: &PoolObservation| {
                    let mut workers = seen.workers.iter();
                    workers.any(|seen| seen.record.id == *worker)
                };
                gone(&hive, answer, is_there).await.map(Done::from)
            }
            ActionKind::Update {
                subject, protect, ..
            } => {
                let request = Request::Protect {
                    subject: subject.clone(),
                    owner: self.plan.fleet.clone(),
                    protect: *protect,
                };
                hive(link)?.call_while(expect, request, |_| ()).await?;
                Ok(Done::default())
            }
            ActionKind::Link {
                orchestrator,
                token,
            } => {
                let request = Request::Link {
                    fleet: self.plan.fleet.clone(),
                    orchestrator: orchestrator.clone(),
                    token: self.token(token).await?,
                };
                hive(link)?.call_while(expect, request, |_| ()).await?;
                Ok(Done::default())
            }
            ActionKind::Configure { file, path, digest } => {
                let text = config(&self.folder.join(path)).map_err(Fault::of)?;
                if Sha256::of(&text) != *digest {
                    return Err(Fault {
                        help: Some("plan again".into()),
                        stale: true,
                        ..Fault::of(format!("{path} changed since the plan was made"))
                    });
                }
                let request = Request::Configure {
                    fleet: self.plan.fleet.clone(),
                    file: *file,
                    content: Secret::new(text),
                };
                hive(link)?.call_while(expect, request, |_| ()).await?;
                Ok(Done::default())
            }
            ActionKind::Unlink => {
                let fleet = self.plan.fleet.clone();
                let hive = hive(link)?;
                let answer = hive.call_while(expect, Request::Unlink { fleet }, |_| ());
                let is_there = |seen: &PoolObservation| seen.links.contains_key(&self.plan.fleet);
                gone(&hive, answer.await, is_there).await.map(Done::from)
            }
            ActionKind::StartOrchestrator { spec, .. } => {
                let spec = spec.clone();
                let request = Request::StartOrchestrator { spec };
                let tell = |event| tell(step, event);
                match hive(link)?.call_while(expect, request, tell).await? {
                    Outcome::Started(record) => {
                        Ok(format!("ready at {}", record.spec.listen).into())
                    }
                    other => Err(Fault::odd(&other)),
                }
            }
            ActionKind::StopOrchestrator => {
                let fleet = self.plan.fleet.clone();
                let hive = hive(link)?;
                let request = Request::StopOrchestrator { fleet };
                let answer = hive.call_while(expect, request, |_| ());
                let is_there = |seen: &PoolObservation| {
                    let mut all = seen.orchestrators.iter();
                    all.any(|seen| seen.record.spec.fleet == self.plan.fleet)
                };
                gone(&hive, answer.await, is_there).await.map(Done::from)
            }
            ActionKind::Unregister { model, .. } => {
                let request = Request::Unregister {
                    model: model.clone(),
                    owner: Some(self.plan.fleet.clone()),
                };
                let hive = hive(link)?;
                let answer = hive.call_while(expect, request, |_| ()).await;
                let is_there = |seen: &PoolObservation| {
                    let mut models = seen.models.iter();
                    models.any(|seen| seen.entry.id == *model)
                };
                gone(&hive, answer, is_there).await.map(Done::from)
            }
        }
    }

    /// The fleet's token, where it comes from another pool.
    async fn token(&self, token: &Token) -> Result<Option<Secret>, Fault> {
        let Token::Of(pool) = token else {
            return Ok(None);
        };
        let link = self.links.get(pool).ok_or_else(|| Fault {
            what: format!("{pool}, whose token it is, was not reached"),
            unreachable: true,
            ..Fault::default()
        })?;
        let fleet = self.plan.fleet.clone();
        let answer = hive(link)?.call(Request::Token { fleet }, |_| ()).await?;
        match answer {
            Outcome::Token(token) => Ok(Some(token)),
            other => Err(Fault::odd(&other)),
        }
    }
}

/// What was taken away meanwhile is as gone as it should be; a pool forgets a worker that failed by itself where another
/// comes to its address.
async fn gone(
    hive: &HiveClient,
    answer: Result<Outcome, CallError>,
    is_there: impl Fn(&PoolObservation) -> bool,
) -> Result<String, Fault> {
    let Err(error) = answer else {
        return Ok(String::new());
    };
    let code = match &error {
        CallError::Hive { error, .. } => Some(error.code),
        CallError::Lost { .. } | CallError::Source { .. } => None,
    };
    let is_gone = match code {
        Some(ErrorCode::NotFound) => true,
        Some(ErrorCode::Stale) => {
            let seen = hive.call(Request::Observe, |_| ()).await;
            matches!(seen, Ok(Outcome::Observed(seen)) if !is_there(&seen))
        }
        _ => false,
    };
    if is_gone {
        Ok("gone already".into())
    } else {
        Err(error.into())
    }
}

fn hive(link: &Link) -> Result<Arc<HiveClient>, Fault> {
    link.hive().ok_or_else(|| Fault::of("no hive runs there"))
}

/// The catalog entry of a model; the pool fills in where its files lie.
fn entry(
    id: &ModelId,
    fleet: &FleetName,
    source: &Source,
    commit: Option<&String>,
    manifest: &Manifest,
) -> CatalogEntry {
    let (repo, revision, file) = match source {
        Source::Folder(folder) => (folder.clone(), None, None),
        Source::Hub {
            repo,
            revision,
            file,
        } => (
            repo.clone(),
            commit.or(revision.as_ref()).cloned(),
            file.clone(),
        ),
    };
    let origin = Origin {
        repo,
        revision,
        files: file.into_iter().collect(),
    };
    CatalogEntry::new(id.clone(), Some(fleet.clone()), origin, manifest.clone())
}

pub(crate) fn tell(step: &Step, event: Event) {
    if let Event::Progress(progress) = event {
        if let Some(Moved { done, total }) = progress.bytes {
            step.bytes(done, total);
        }
        match progress.percent {
            Some(percent) => step.say(&format!("{}, {percent} %", progress.message)),
            None => step.say(&progress.message),
        }
    }
}

impl Fault {
    pub(crate) fn of(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }

    pub(crate) fn odd(outcome: &Outcome) -> Self {
        Self::of(format!("its hive answered something else: {outcome:?}"))
    }
}

impl From<Failure> for Fault {
    fn from(failure: Failure) -> Self {
        let (unreachable, locked) = (
            failure.code() == Exit::UNREACHABLE,
            failure.code() == Exit::LOCKED,
        );
        match failure {
            Failure::Other { what, help, .. } => Self {
                what,
                help,
                unreachable,
                locked,
                ..Self::default()
            },
            Failure::Problems { .. } => Self::of("the fleet file has mistakes"),
        }
    }
}

impl From<CallError> for Fault {
    fn from(error: CallError) -> Self {
        match error {
            // Of which pool it is, its action says.
            CallError::Hive { error, .. } => Self {
                what: error.message,
                help: error.help,
                unreachable: false,
                locked: error.code == ErrorCode::Locked,
                gate: error.code == ErrorCode::GateFailed,
                stale: error.code == ErrorCode::Stale,
            },
            lost => Failure::from(lost).into(),
        }
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        Failure::from(error).into()
    }
}

impl From<InstallError> for Fault {
    fn from(error: InstallError) -> Self {
        Failure::from(error).into()
    }
}
