//! What the orchestrator answers.
//!
//! | module | holds |
//! |---|---|
//! | `tasks` | `/v2/tasks` |
//! | `generate` | OpenAI's chat completions and completions |
//! | `passing` | a worker's stream on its way through |
//! | `models` | `GET /v1/models` |
//! | `workers` | registrations, `GET /v2/workers`, `GET /v2/pools` |
//! | `openapi` | `GET /openapi.json` |
//! | `status` | `GET /health`, `/ready`, `/metrics` |
//! | `refused` | what the core refuses, as an answer |

mod generate;
mod models;
mod openapi;
mod opening;
mod passing;
mod refused;
mod status;
mod tasks;
mod workers;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use http_front::Front;
use http_front::traces::Traces;
use pool_core::serving::ErrorCode;

use crate::daemon::{Orchestrator, Who};

impl Front for Orchestrator {
    type Caller = Who;

    const TOKEN_OPTION: &'static str = "--token-file";

    const OPEN: &'static [&'static str] = &["/health", "/ready"];

    const TRACED: &'static [&'static str] =
        &["/v2/tasks", "/v1/chat/completions", "/v1/completions"];

    fn asks_token(&self) -> bool {
        self.keys.are_asked()
    }

    fn accept(&self, token: &str) -> Option<Who> {
        self.keys.who(token)
    }

    fn body_timeout(&self) -> Duration {
        self.limits.body_timeout
    }

    fn traces(&self) -> &Traces {
        &self.traces
    }

    fn refused(&self, code: ErrorCode) {
        self.metrics.refused(code);
    }
}

/// The routes of the orchestrator.
pub fn router(orchestrator: Arc<Orchestrator>) -> Router {
    let routes = Router::new()
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::serve))
        .route("/v2/tasks", post(tasks::submit))
        .route("/v2/tasks/{id}", get(tasks::state).delete(tasks::cancel))
        .route("/v2/tasks/{id}/events", get(tasks::events))
        .route("/v2/tasks/{id}/explain", get(tasks::explain))
        .route("/v2/tasks/{id}/cancel", post(tasks::cancel))
        .route("/v2/workers", get(workers::list))
        .route("/v2/workers/register", post(workers::register))
        .route("/v2/workers/drain", post(workers::drain))
        .route("/v2/pools", get(workers::pools))
        .route("/v1/chat/completions", post(generate::chat))
        .route("/v1/completions", post(generate::completion))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one));
    http_front::router(routes, orchestrator)
}
