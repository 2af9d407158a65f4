//! `GET /health`, `/ready`, `/metrics`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use pool_core::serving::Phase;
use schemars::JsonSchema;
use serde::Serialize;

use crate::core::{Condition, Priority};
use crate::daemon::Orchestrator;

/// `GET /health`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Health {
    status: Phase,
    version: &'static str,
    workers: WorkerCount,
    tasks: TaskCount,
}

#[derive(Debug, Serialize, JsonSchema)]
struct WorkerCount {
    known: usize,
    ready: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct TaskCount {
    queued: usize,
    running: usize,
}

/// `GET /ready`
#[derive(Debug, Serialize, JsonSchema)]
pub struct Ready {
    status: Phase,
}

/// Answers as long as the process lives.
pub async fn health(State(orchestrator): State<Arc<Orchestrator>>) -> Json<Health> {
    let (workers, ready, queued, live) = orchestrator.ask(|core, _| {
        let ready = core
            .workers()
            .filter(|worker| worker.condition == Condition::Ready);
        let queued: usize = Priority::ALL
            .into_iter()
            .map(|class| core.queued(class))
            .sum();
        (core.workers().count(), ready.count(), queued, core.live())
    });
    Json(Health {
        status: phase(&orchestrator),
        version: pool_core::VERSION,
        workers: WorkerCount {
            known: workers,
            ready,
        },
        tasks: TaskCount {
            queued,
            running: live.saturating_sub(queued),
        },
    })
}

/// 200 when a task would be admitted now.
pub async fn ready(State(orchestrator): State<Arc<Orchestrator>>) -> (StatusCode, Json<Ready>) {
    let status = phase(&orchestrator);
    let code = match status {
        Phase::Ready => StatusCode::OK,
        Phase::Loading | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(Ready { status }))
}

fn phase(orchestrator: &Orchestrator) -> Phase {
    if orchestrator.is_draining() {
        Phase::Draining
    } else {
        Phase::Ready
    }
}

pub async fn metrics(State(orchestrator): State<Arc<Orchestrator>>) -> Response {
    orchestrator.ask(|core, _| orchestrator.metrics.measure(core));
    let text = orchestrator.metrics.text();
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
