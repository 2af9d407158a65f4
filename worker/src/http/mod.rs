//! The HTTP side of the worker.
//!
//! | module | holds |
//! |---|---|
//! | `execute` | `POST /execute` and its stream, `POST /cancel` |
//! | `refusal` | every answer that is not a success, in one shape |
//! | `correlation` | the id that names a request through the whole fleet |

mod correlation;
mod execute;
mod refusal;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use pool_core::launch::WorkerLaunch;
use pool_core::serving::{ErrorCode, Health, Phase, Ready, Slots};
use tokio::sync::{Notify, Semaphore};

use crate::engine::Engine;
use refusal::Refusal;

/// What every handler knows.
pub(crate) struct Service {
    pub launch: WorkerLaunch,
    pub engine: Engine,
    pub started: Instant,
    /// How long a stream may be silent before a comment keeps it open.
    pub keep_alive: Duration,
    /// Prompts that are tokenized at the same time: each takes many times its own memory.
    pub tokenizing: Semaphore,
    /// Somebody asked for the end.
    pub shutdown: Notify,
}

/// The routes of the worker.
pub(crate) fn router(service: Arc<Service>) -> Router {
    Router::new()
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/execute", post(execute::execute))
        .route("/cancel", post(execute::cancel))
        .route("/shutdown", post(shutdown))
        .fallback(async || Refusal::new(ErrorCode::NotFound, "there is no such endpoint"))
        .method_not_allowed_fallback(async || {
            Refusal::new(
                ErrorCode::MethodNotAllowed,
                "this endpoint has another method",
            )
        })
        .layer(axum::middleware::from_fn(correlation::correlate))
        .with_state(service)
}

async fn health(State(service): State<Arc<Service>>) -> Json<Health> {
    let Service {
        launch,
        engine,
        started,
        ..
    } = service.as_ref();
    Json(Health {
        status: engine.phase(),
        worker_id: launch.worker_id.clone(),
        model: launch.model.clone(),
        model_digest: launch.model_digest,
        backend: launch.device.backend(),
        device: launch.device,
        uptime_s: started.elapsed().as_secs(),
        slots: Slots {
            total: launch.slots,
            busy: engine.busy(),
        },
        memory: engine.memory(),
    })
}

async fn ready(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let status = service.engine.phase();
    let percent = (status == Phase::Loading).then(|| service.engine.percent());
    let code = match status {
        Phase::Ready => StatusCode::OK,
        Phase::Loading | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, Json(Ready { status, percent }))
}

async fn shutdown(State(service): State<Arc<Service>>) -> StatusCode {
    service.shutdown.notify_one();
    StatusCode::ACCEPTED
}
