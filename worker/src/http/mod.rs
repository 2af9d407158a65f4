//! The HTTP side of the worker.
//!
//! | module | holds |
//! |---|---|
//! | `execute` | `POST /execute`, `POST /cancel` |
//! | `generate` | OpenAI's chat completions and completions |
//! | `talk` | what the engine tells, in OpenAI's words |
//! | `models` | `GET /v1/models`, `POST /tokenize` |
//! | `status` | `GET /health`, `/ready`, `/metrics`, and `POST /shutdown` |
//! | `openapi` | `GET /openapi.json` |
//! | `prompt` | from a request to tokens that fit the context |
//! | `ends` | how a stream ends |
//! | `front` | who may ask, and why the engine refuses |

mod ends;
mod execute;
mod front;
mod generate;
mod models;
mod openapi;
mod prompt;
mod status;
mod talk;

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::{get, post};
use http_front::link::LinkFile;
use http_front::tokens::Tokens;
use http_front::traces::Traces;
use http_front::{Caller, KeyValue, Refusal};
use jiff::Timestamp;
use pool_core::digest::Sha256;
use pool_core::launch::WorkerLaunch;
use pool_core::serving::Slots;
use tokio::sync::{Notify, Semaphore};

use crate::engine::{Engine, Job, Refused};
use crate::metrics::Metrics;

/// What every handler knows.
pub(crate) struct Service {
    pub launch: WorkerLaunch,
    pub engine: Engine,
    pub metrics: Arc<Metrics>,
    /// Who may ask, beside the fleet.
    pub tokens: Tokens,
    /// Whether a token is needed; without one, everybody on this machine may ask.
    pub asks_token: bool,
    /// Where spans go.
    pub traces: Traces,
    /// What it shares with its fleet.
    pub link: Option<Arc<LinkFile>>,
    pub started: Instant,
    pub started_at: Timestamp,
    /// How long a stream may be silent before a comment keeps it open.
    pub keep_alive: Duration,
    /// How long a body may take to arrive.
    pub body_timeout: Duration,
    /// Prompts that are tokenized at the same time: each takes many times its own memory.
    pub tokenizing: Arc<Semaphore>,
    /// Keyed by chance, so that nobody outside can make two owners look the same.
    pub owners: RandomState,
    /// Somebody asked for the end.
    pub shutdown: Notify,
}

impl Service {
    pub fn slots(&self) -> Slots {
        Slots {
            total: self.launch.slots,
            busy: self.engine.busy(),
        }
    }

    /// Whose keys and values a request may share.
    fn owner(&self, caller: Caller<Sha256>, salt: Option<&str>) -> u64 {
        owner(&self.owners, caller, salt)
    }

    /// Hands a request to the engine; one that comes at a bad time hears when to come back.
    fn submit(&self, job: Job) -> Result<(), Refusal> {
        job.trace.set(|| {
            let max_tokens = job.max_tokens.cast_signed() as i64;
            vec![
                KeyValue::new("gen_ai.request.model", self.launch.model.to_string()),
                KeyValue::new("gen_ai.request.max_tokens", max_tokens),
            ]
        });
        self.engine.submit(job).map_err(|refused| {
            let refusal = Refusal::from(refused);
            match refused {
                Refused::QueueFull => refusal.retry_after(self.engine.load().retry_after),
                _ => refusal,
            }
        })
    }

    /// Tells builds and models apart: same fingerprint, same answers.
    fn fingerprint(&self) -> String {
        let model = match &self.launch.model_digest {
            Some(digest) => digest.to_string(),
            None => self.launch.model.to_string(),
        };
        let of = Sha256::of(format!("{}\n{model}", pool_core::VERSION));
        format!("fp_{}", of.short())
    }
}

/// The routes of the worker.
pub(crate) fn router(service: Arc<Service>) -> Router {
    let routes = Router::new()
        .route("/health", get(status::health))
        .route("/ready", get(status::ready))
        .route("/metrics", get(status::metrics))
        .route("/openapi.json", get(openapi::serve))
        .route("/execute", post(execute::execute))
        .route("/cancel", post(execute::cancel))
        .route("/shutdown", post(status::shutdown))
        .route("/v1/chat/completions", post(generate::chat))
        .route("/v1/completions", post(generate::completion))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one))
        .route("/tokenize", post(models::tokenize));
    http_front::router(routes, service)
}

fn owner(chance: &RandomState, Caller(token): Caller<Sha256>, salt: Option<&str>) -> u64 {
    let token = token.map(|token| *token.as_bytes());
    chance.hash_one((token, salt))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_token_with_each_salt_is_an_owner_of_its_own() {
        let callers = [None, Some(Sha256::of("a")), Some(Sha256::of("b"))].map(Caller);
        let salts = [None, Some(""), Some("a"), Some("b")];
        let chances = [RandomState::new(), RandomState::new()];
        let mut owners = BTreeSet::new();
        for chance in &chances {
            for caller in callers {
                for salt in salts {
                    let first = owner(chance, caller, salt);
                    assert_eq!(first, owner(chance, caller, salt));
                    owners.insert(first);
                }
            }
        }
        assert_eq!(owners.len(), chances.len() * callers.len() * salts.len());
    }
}
