//! `POST /execute` and `POST /cancel`.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use http_front::{Caller, CorrelationId, Json, Refusal, Trace, random, stream};
use pool_core::digest::Sha256;
use pool_core::serving::{CancelRequest, ExecuteRequest};
use tokio::sync::mpsc::unbounded_channel;

use super::Service;
use super::ends::{cut, until_last};
use super::prompt::{field_of, fit, tokenize};
use crate::engine::{Job, Refused};

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
    Extension(trace): Extension<Trace>,
    Extension(caller): Extension<Caller<Sha256>>,
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
        trace,
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
            let event = update.unwrap_or_else(cut).event;
            let _ = write!(frames, "{}", event.to_frame(id));
            id += 1;
            until_last(&event)
        },
    ))
}

/// JSON readers that keep numbers as f64 can send a seed of 53 bits back unchanged.
pub(super) fn seed() -> u64 {
    random() >> 11
}
