//! `POST /execute` and `POST /cancel`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use pool_core::serving::{CancelRequest, ExecuteRequest};
use tokio::sync::mpsc::unbounded_channel;

use super::Service;
use super::body::Json;
use super::correlation::CorrelationId;
use super::guard::Caller;
use super::prompt::{field_of, fit, tokenize};
use super::refusal::Refusal;
use super::stream::stream;
use crate::engine::{Job, Refused};
use crate::random::random;

pub(super) async fn cancel(
    State(service): State<Arc<Service>>,
    Json(body): Json,
) -> Result<StatusCode, Refusal> {
    let request = CancelRequest::from_json(&body)?;
    service.engine.cancel(&request.job_id);
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn execute(
    State(service): State<Arc<Service>>,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    Extension(caller): Extension<Caller>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let submitted = Instant::now();
    let request = ExecuteRequest::from_json(&body)?;
    let (_, context) = service.engine.text().ok_or(Refused::Loading)?;
    let input = request.input;
    let field = field_of(&input);
    let prompt = tokenize(&service, input, None).await?;
    let max_tokens = fit(field, prompt.len(), request.max_tokens, context)?;
    let (events, receiver) = unbounded_channel();
    service.submit(Job {
        id: request.job_id,
        correlation_id,
        prompt,
        max_tokens,
        sampling: request.sampling,
        seed: request.sampling.seed.unwrap_or_else(seed),
        stop: request.stop,
        logprobs: None,
        owner: service.owner(caller, request.cache_salt.as_deref()),
        submitted,
        events,
        cancelled: Arc::new(AtomicBool::new(false)),
    })?;
    let mut id = 0;
    Ok(stream(
        receiver,
        service.keep_alive,
        move |update, frames| {
            let _ = write!(frames, "{}", update.event.to_frame(id));
            id += 1;
        },
    ))
}

/// JSON readers that keep numbers as f64 can send a seed of 53 bits back unchanged.
pub(super) fn seed() -> u64 {
    random() >> 11
}
