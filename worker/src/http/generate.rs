//! `POST /v1/chat/completions` and `POST /v1/completions`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use http_front::{Caller, CorrelationId, Json, Refusal, Trace, random, stream};
use jiff::Timestamp;
use pool_core::digest::Sha256;
use pool_core::serving::StreamEvent;
use pool_core::serving::openai::GenerateRequest;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::ends::{cut, until_last};
use super::execute::seed;
use super::prompt::{fit, tokens_of};
use super::talk::{Shape, Talk};
use super::{Service, models};
use crate::engine::{Job, Refused, Update};

pub(super) async fn chat(
    State(service): State<Arc<Service>>,
    Extension(id): Extension<CorrelationId>,
    Extension(trace): Extension<Trace>,
    Extension(caller): Extension<Caller<Sha256>>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let request = GenerateRequest::chat_from_json(&body)?;
    generate(&service, (id, trace), caller, request, Shape::Chat).await
}

pub(super) async fn completion(
    State(service): State<Arc<Service>>,
    Extension(id): Extension<CorrelationId>,
    Extension(trace): Extension<Trace>,
    Extension(caller): Extension<Caller<Sha256>>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let request = GenerateRequest::completion_from_json(&body)?;
    generate(&service, (id, trace), caller, request, Shape::Completion).await
}

async fn generate(
    service: &Service,
    (CorrelationId(correlation_id), trace): (CorrelationId, Trace),
    caller: Caller<Sha256>,
    request: GenerateRequest,
    shape: Shape,
) -> Result<Response, Refusal> {
    let submitted = Instant::now();
    models::check(service, &request.model)?;
    let (text, context) = service.engine.text().ok_or(Refused::Loading)?;
    let (field, prompt) = tokens_of(service, request.given).await?;
    let max_tokens = request.max_tokens.or_else(|| match shape {
        Shape::Chat => None,
        Shape::Completion => {
            let room = context.saturating_sub(prompt.len()).max(1) as u32;
            Some(room.min(GenerateRequest::default_completion_tokens()))
        }
    });
    let max_tokens = fit(field, prompt.len(), max_tokens, context)?;
    // The id of the answer is the job's: `POST /cancel` takes it.
    let id = format!("{}-{:016x}{:016x}", shape.prefix(), random(), random());
    let talk = Talk {
        id: id.clone(),
        created: Timestamp::now().as_second(),
        model: service.launch.model.clone(),
        fingerprint: service.fingerprint(),
        text,
        logprobs: request.logprobs.is_some(),
        include_usage: request.include_usage,
        shape,
        offset: 0,
        untold: Vec::new(),
    };
    let (events, receiver) = unbounded_channel();
    service.submit(Job {
        id,
        correlation_id,
        trace,
        prompt,
        max_tokens,
        sampling: request.sampling,
        seed: request.sampling.seed.unwrap_or_else(seed),
        stop: request.stop,
        logprobs: request.logprobs,
        owner: service.owner(caller, request.cache_salt.as_deref()),
        submitted,
        events,
        cancelled: Arc::new(AtomicBool::new(false)),
    })?;
    if request.stream {
        return Ok(stream_in(talk, receiver, service));
    }
    whole(talk, receiver).await
}

fn stream_in(mut talk: Talk, receiver: UnboundedReceiver<Update>, service: &Service) -> Response {
    stream(receiver, service.keep_alive, move |update, frames| {
        let update = update.unwrap_or_else(cut);
        let more = until_last(&update.event);
        talk.frames(update, frames);
        more
    })
}

/// Waits for the whole answer. Dropped when the client leaves, and the receiver with it.
async fn whole(
    mut talk: Talk,
    mut receiver: UnboundedReceiver<Update>,
) -> Result<Response, Refusal> {
    let mut answer = String::new();
    loop {
        let update = receiver.recv().await.unwrap_or_else(cut);
        talk.untold.extend(update.tokens);
        match update.event {
            StreamEvent::Token { t, .. } => answer.push_str(&t),
            StreamEvent::Started { .. } | StreamEvent::Metrics { .. } => {}
            StreamEvent::End(end) => {
                let body = talk.whole(answer, &end);
                return Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response());
            }
            StreamEvent::Error(failure) => {
                return Err(Refusal::new(failure.code.into(), failure.message));
            }
        }
    }
}
