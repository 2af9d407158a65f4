//! OpenAI's chat completions and completions, over the whole fleet.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_front::{Caller, CorrelationId, Json, Refusal, Trace, random};
use pool_core::serving::openai::{GenerateRequest, Given};
use serde::Deserialize;

use super::opening::Opening;
use super::passing::{Passing, Traced};
use super::refused::{ended, failed, no_model, refused};
use crate::core::{AttemptError, Dispatch, Next, TaskId, Used};
use crate::daemon::{
    Answer, AttemptSpan, Broken, Operation, Orchestrator, Signal, Turn, Who, new_generation,
    tokens_of,
};

impl Operation {
    /// Where workers take it.
    fn path(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::TextCompletion => "/v1/completions",
        }
    }
}

pub async fn chat(
    state: State<Arc<Orchestrator>>,
    correlation: Extension<CorrelationId>,
    trace: Extension<Trace>,
    caller: Extension<Caller<Who>>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let request = GenerateRequest::chat_from_json(&body)?;
    let operation = Operation::Chat;
    generate(state, correlation, trace, caller, operation, request, body).await
}

pub async fn completion(
    state: State<Arc<Orchestrator>>,
    correlation: Extension<CorrelationId>,
    trace: Extension<Trace>,
    caller: Extension<Caller<Who>>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let mut request = GenerateRequest::completion_from_json(&body)?;
    let most = GenerateRequest::default_completion_tokens();
    request.max_tokens.get_or_insert(most);
    let operation = Operation::TextCompletion;
    generate(state, correlation, trace, caller, operation, request, body).await
}

/// What is asked of each worker that tries.
struct Asked {
    operation: Operation,
    model: String,
    body: Bytes,
    is_stream: bool,
    correlation_id: String,
    trace: Trace,
    received: Instant,
}

async fn generate(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    Extension(trace): Extension<Trace>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    operation: Operation,
    request: GenerateRequest,
    body: Vec<u8>,
) -> Result<Response, Refusal> {
    let received = Instant::now();
    let model = request
        .model
        .parse()
        .map_err(|_| no_model(&request.model))?;
    let tenant = Who::tenant(caller.as_ref());
    let max_tokens = request.max_tokens.map(u64::from);
    let tokens = match &request.given {
        Given::Input(input) => tokens_of(&orchestrator, &tenant, &model, input, max_tokens).await,
        Given::Tokens(tokens) => tokens.len() as u64,
    };
    let id = TaskId::from(format!("c-{:016x}{:016x}", random(), random()));
    let salted = salted(body, request.cache_salt.as_deref(), tenant.as_str());
    let task = new_generation(&request, model, id, tenant, tokens);
    let (_, mut turn) = orchestrator.submit(task).map_err(refused)?;
    orchestrator.pump();
    let asked = Asked {
        operation,
        model: request.model,
        body: salted,
        is_stream: request.stream,
        correlation_id,
        trace,
        received,
    };
    loop {
        let dispatch = turn.dispatched(&asked.trace).await.map_err(ended)?;
        let mut span = AttemptSpan::begin(&asked.trace, &dispatch, asked.operation, &asked.model);
        let error = match attempt(&orchestrator, &asked, &dispatch, span.trace(), &mut turn).await {
            Attempt::Begun(stream) => {
                let traced = Traced {
                    span,
                    _request: asked.trace,
                };
                let passing = Passing::new(&orchestrator, turn, traced, *stream);
                return Ok(streamed(Body::new(passing)));
            }
            Attempt::Answered(answer, used) => {
                span.completed(used);
                return Ok(answer);
            }
            Attempt::Stopped(refusal) => return Err(refusal),
            Attempt::Failed(error) => error,
        };
        // What the worker says of the request itself is what its client has to hear.
        let told = match &error {
            Failed {
                answer: Some(answer),
                ..
            } => Some(answer.clone()),
            Failed { .. } => None,
        };
        span.failed(&error.why);
        match turn.failed(error.why) {
            Next::Requeued | Next::Stale => {}
            Next::Failed(failure) => {
                return match told {
                    Some((status, body)) => Ok(json(status, body)),
                    None => Err(failed(&failure)),
                };
            }
        }
    }
}

/// What came of one worker.
enum Attempt {
    /// A stream, of which these bytes came.
    Begun(Box<(Bytes, Answer)>),
    Answered(Response, Used),
    Failed(Failed),
    /// The task ended meanwhile.
    Stopped(Refusal),
}

struct Failed {
    why: AttemptError,
    /// What the worker answered, where that is for the client.
    answer: Option<(StatusCode, Bytes)>,
}

impl From<AttemptError> for Attempt {
    fn from(why: AttemptError) -> Self {
        Self::Failed(Failed { why, answer: None })
    }
}

async fn attempt(
    orchestrator: &Arc<Orchestrator>,
    asked: &Asked,
    dispatch: &Dispatch,
    trace: &Trace,
    turn: &mut Turn,
) -> Attempt {
    let post = async {
        let answer = orchestrator.upstream.post(
            &dispatch.url,
            asked.operation.path(),
            asked.body.clone(),
            &asked.correlation_id,
            trace,
        );
        let mut answer = answer.await?;
        let status = answer.status;
        if status != StatusCode::OK || !asked.is_stream {
            let (_, body) = answer.whole().await?;
            return Ok((status, body, None));
        }
        let mut opening = Opening::default();
        let first = loop {
            let bytes = answer.next().await?.ok_or(AttemptError::Cut)?;
            if let Some(first) = opening.push(&bytes) {
                break first;
            }
        };
        Ok::<_, AttemptError>((status, first, Some(answer)))
    };
    // An answer that is no stream says nothing until it is whole: only a worker that is gone ends the wait.
    let stall = if asked.is_stream {
        orchestrator.limits.stall
    } else {
        Duration::MAX
    };
    let (status, bytes, stream) = match turn.unless_told(stall, post).await {
        Ok(answer) => answer,
        Err(Broken::Failed(error)) => return error.into(),
        Err(Broken::Stopped(why)) => return Attempt::Stopped(ended(why)),
    };
    if status != StatusCode::OK {
        let why = AttemptError::Status {
            status: status.as_u16(),
            message: message(&bytes),
        };
        let answer = status.is_client_error().then_some((status, bytes));
        return Attempt::Failed(Failed { why, answer });
    }
    if !turn.passes_on(1) {
        // What ended the task is on its way.
        return match turn.next().await {
            Signal::Stop(why) => Attempt::Stopped(ended(why)),
            Signal::Lost | Signal::Run(_) => AttemptError::Cut.into(),
        };
    }
    orchestrator.metrics.first_token(asked.received.elapsed());
    if let Some(stream) = stream {
        return Attempt::Begun(Box::new((bytes, stream)));
    }
    let used = serde_json::from_slice(&bytes).map_or(Used::default(), used);
    turn.ended(used);
    Attempt::Answered(json(status, bytes), used)
}

#[derive(Deserialize)]
struct Completion {
    usage: Tokens,
}

#[derive(Deserialize)]
struct Tokens {
    prompt_tokens: u64,
    completion_tokens: u64,
}

fn used(answer: Completion) -> Used {
    Used {
        tokens_in: answer.usage.prompt_tokens,
        tokens_out: answer.usage.completion_tokens,
    }
}

#[derive(Deserialize)]
struct Refusing {
    error: Said,
}

#[derive(Deserialize)]
struct Said {
    message: String,
}

fn message(body: &[u8]) -> String {
    let refusing: Option<Refusing> = serde_json::from_slice(body).ok();
    refusing
        .map(|refusing| refusing.error.message)
        .unwrap_or_default()
}

/// The body with a salt of the tenant, where it has none: what one tenant's prompts left on a worker is never used for
/// another's.
fn salted(body: Vec<u8>, salt: Option<&str>, tenant: &str) -> Bytes {
    let end = body.iter().rposition(|&byte| byte == b'}');
    let (Some(end), None) = (end, salt) else {
        return body.into();
    };
    let mut salted = body;
    salted.truncate(end);
    let salt = serde_json::Value::from(tenant);
    salted.extend_from_slice(format!(",\"cache_salt\":{salt}}}").as_bytes());
    salted.into()
}

fn streamed(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

fn json(status: StatusCode, body: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
