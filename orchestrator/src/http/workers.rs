//! Registrations, `GET /v2/workers`, `GET /v2/pools`.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json as Answer};
use http_front::{Caller, Json, Refusal};
use pool_core::registration::{HEARTBEAT, Registered, Registration};
use pool_core::serving::ErrorCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::core::{Condition, WorkerView};
use crate::daemon::{Orchestrator, Who};

/// `POST /v2/workers/register`
pub async fn register(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    Json(body): Json,
) -> Result<Answer<Registered>, Refusal> {
    fleet(&orchestrator, caller.as_ref())?;
    let registration: Registration = read(&body)?;
    let is_ours = |fleet| registration.fleet.as_ref() == Some(fleet);
    if !orchestrator.fleet.as_ref().is_none_or(is_ours) {
        let message = "the worker is not of this orchestrator's fleet";
        return Err(Refusal::new(ErrorCode::Forbidden, message));
    }
    orchestrator.registered(registration);
    orchestrator.pump();
    let heartbeat_ms = HEARTBEAT.as_millis() as u64;
    Ok(Answer(Registered { heartbeat_ms }))
}

/// `POST /v2/workers/drain`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    worker: String,
    drained: bool,
}

pub async fn drain(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    Json(body): Json,
) -> Result<axum::http::StatusCode, Refusal> {
    fleet(&orchestrator, caller.as_ref())?;
    let Drain { worker, drained } = read(&body)?;
    let is_there = orchestrator.ask(|core, _| core.drain_worker(&worker.into(), drained));
    if !is_there {
        return Err(Refusal::new(ErrorCode::NotFound, "there is no such worker"));
    }
    orchestrator.pump();
    Ok(axum::http::StatusCode::NO_CONTENT)
}

/// `GET /v2/workers`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Workers {
    workers: Vec<WorkerView>,
}

pub async fn list(State(orchestrator): State<Arc<Orchestrator>>) -> Answer<Workers> {
    let workers = orchestrator.ask(|core, _| core.workers().cloned().collect());
    Answer(Workers { workers })
}

/// `GET /v2/pools`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Pools {
    pools: BTreeMap<String, Pool>,
}

/// What one pool has.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct Pool {
    workers: usize,
    ready: usize,
    slots: u32,
    running: u32,
    models: std::collections::BTreeSet<String>,
}

pub async fn pools(State(orchestrator): State<Arc<Orchestrator>>) -> Answer<Pools> {
    let mut pools: BTreeMap<String, Pool> = BTreeMap::new();
    orchestrator.ask(|core, _| {
        for worker in core.workers() {
            let pool = pools.entry(worker.info.pool.clone()).or_default();
            pool.workers += 1;
            pool.ready += usize::from(worker.condition == Condition::Ready);
            pool.slots += worker.info.slots;
            pool.running += worker.running;
            pool.models.insert(worker.info.model.to_string());
        }
    });
    Answer(Pools { pools })
}

/// Only the fleet itself may.
fn fleet(orchestrator: &Orchestrator, caller: Option<&Who>) -> Result<(), Refusal> {
    match caller {
        Some(Who::Fleet) => Ok(()),
        None if !orchestrator.keys.are_asked() => Ok(()),
        _ => Err(Refusal::new(
            ErrorCode::Forbidden,
            "this is for the fleet's own token, not for a tenant's key",
        )),
    }
}

fn read<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body)
        .map_err(|error| Refusal::field("", "a JSON object as documented", error.to_string()))
}
