//! `POST /execute` and its stream; `POST /cancel`.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pool_core::serving::{
    CancelRequest, ErrorCode, ExecuteRequest, Failure, FailureCode, Input, KEEP_ALIVE, StreamEvent,
};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::Service;
use super::correlation::CorrelationId;
use super::refusal::Refusal;
use crate::engine::{Job, Refused, Update};
use crate::random::random;

type Received = Result<Bytes, BytesRejection>;

pub(super) async fn cancel(
    State(service): State<Arc<Service>>,
    body: Received,
) -> Result<StatusCode, Refusal> {
    let request = CancelRequest::from_json(&body?)?;
    service.engine.cancel(&request.job_id);
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn execute(
    State(service): State<Arc<Service>>,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    body: Received,
) -> Result<Response, Refusal> {
    let request = ExecuteRequest::from_json(&body?)?;
    let (text, context) = service.engine.text().ok_or(Refused::Loading)?;
    let input = request.input;
    let field = match &input {
        Input::Prompt(_) => "prompt",
        Input::Messages(_) => "messages",
    };
    // A long prompt takes a while to tokenize; the other connections do not wait for it.
    let turn = service.tokenizing.acquire().await;
    let prompt = tokio::task::spawn_blocking(move || text.encode(&input))
        .await
        .map_err(|_| Refusal::new(ErrorCode::Internal, "the prompt could not be tokenized"))??;
    drop(turn);
    let max_tokens = fit(field, prompt.len(), request.max_tokens, context)?;
    let (events, receiver) = unbounded_channel();
    service.engine.submit(Job {
        id: request.job_id,
        correlation_id,
        prompt,
        max_tokens,
        sampling: request.sampling,
        // JSON readers that keep numbers as f64 can send a seed of 53 bits back unchanged.
        seed: request.sampling.seed.unwrap_or_else(|| random() >> 11),
        stop: request.stop,
        logprobs: None,
        owner: 0,
        events,
        cancelled: Arc::new(AtomicBool::new(false)),
    })?;
    Ok(stream(receiver, service.keep_alive))
}

/// Tokens that the answer may have, or why prompt and answer do not fit the context.
fn fit(
    field: &str,
    prompt: usize,
    max_tokens: Option<u32>,
    context: usize,
) -> Result<usize, Refusal> {
    let constraint = format!("with max_tokens at most {context} tokens, the context");
    let refuse = |message: String| Err(Refusal::field(field, &constraint, message));
    if prompt == 0 {
        return refuse("it has no tokens".to_owned());
    }
    if prompt >= context {
        return refuse(format!(
            "it has {prompt} tokens, which leaves no room in the context of {context}"
        ));
    }
    let max_tokens = max_tokens.map_or(context - prompt, |max_tokens| max_tokens as usize);
    let total = prompt + max_tokens;
    if total > context {
        return refuse(format!(
            "it has {prompt} tokens, which is with max_tokens {max_tokens} together {total}: over the context of {context}"
        ));
    }
    Ok(max_tokens)
}

/// The events as server-sent events. Dropped when the client leaves, which the engine notices by the closed channel.
fn stream(receiver: UnboundedReceiver<Update>, keep_alive: Duration) -> Response {
    let frames = futures::stream::unfold(Some((receiver, 0)), move |state| async move {
        let (mut receiver, mut id) = state?;
        let Ok(event) = tokio::time::timeout(keep_alive, receiver.recv()).await else {
            return Some((KEEP_ALIVE.to_owned(), Some((receiver, id))));
        };
        let mut event = event.map_or_else(cut, |update| update.event);
        let mut text = String::new();
        loop {
            let _ = write!(text, "{}", event.to_frame(id));
            id += 1;
            if event.is_terminal() {
                return Some((text, None));
            }
            // What is there already travels together.
            match receiver.try_recv() {
                Ok(next) => event = next.event,
                Err(_) => return Some((text, Some((receiver, id)))),
            }
        }
    });
    let body = Body::from_stream(futures::StreamExt::map(frames, Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

/// The inference thread is gone; a stream never ends in silence.
fn cut() -> StreamEvent {
    StreamEvent::Error(Failure {
        code: FailureCode::Internal,
        message: "the worker failed".to_owned(),
        retriable: true,
    })
}
