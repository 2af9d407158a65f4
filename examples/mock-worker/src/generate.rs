//! From a request to its answer: `POST /execute` and OpenAI's two.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use pool_core::serving::openai::{GenerateRequest, Given};
use pool_core::serving::{ErrorCode, ExecuteRequest, Input, StopReason};

use crate::answer::{Answer, Body, Broken, Plan};
use crate::faults::Faults;
use crate::frames::{Frames, Talk};
use crate::job::Job;
use crate::openai::{OpenAi, Shape};
use crate::refusal::Refusal;
use crate::seen::Outcome;
use crate::shared::{Shared, Turn};
use crate::whole::whole;

/// A request for an answer, as it came.
pub(crate) struct Asked {
    pub path: &'static str,
    pub correlation_id: String,
    pub traceparent: Option<String>,
    pub body: Bytes,
    pub faults: Faults,
}

pub(crate) async fn execute(shared: &Arc<Shared>, asked: Asked) -> Result<Response<Body>, Refusal> {
    let request = ExecuteRequest::from_json(&asked.body)?;
    let plan = plan(shared, &asked.faults, &request.input, request.max_tokens)?;
    let frames = frames(
        shared,
        &asked.faults,
        &plan,
        Talk::Execute {
            job_id: request.job_id.clone(),
            model: shared.settings.model.clone(),
            seed: request.sampling.seed.unwrap_or_default(),
            id: 0,
        },
    );
    let cut = asked.faults.cut;
    let turn = admit(shared, request.job_id, asked).await?;
    Ok(stream(Answer::new(turn, frames, plan, cut)))
}

pub(crate) async fn generate(
    shared: &Arc<Shared>,
    shape: Shape,
    asked: Asked,
) -> Result<Response<Body>, Refusal> {
    let body = without_ignored(shared, &asked.body);
    let request = match shape {
        Shape::Chat => GenerateRequest::chat_from_json(&body)?,
        Shape::Completion => GenerateRequest::completion_from_json(&body)?,
    };
    check_model(shared, &request.model)?;
    if request.logprobs.is_some() {
        let constraint = "absent";
        let message = "a worker without a model knows no probabilities".to_owned();
        return Err(Refusal::field("logprobs", constraint, message));
    }
    let prompt = match request.given {
        Given::Input(input) => input,
        // As many bytes as that many tokens have.
        Given::Tokens(tokens) => Input::Prompt("....".repeat(tokens.len())),
    };
    let plan = plan(shared, &asked.faults, &prompt, request.max_tokens)?;
    let prefix = match shape {
        Shape::Chat => "chatcmpl",
        Shape::Completion => "cmpl",
    };
    let id = format!("{prefix}-{:032x}", shared.number());
    let (created, model) = (shared.started_at.as_second(), shared.settings.model.clone());
    let openai = OpenAi::new(shape, id.clone(), created, model, request.include_usage);
    let cut = asked.faults.cut;
    if request.stream {
        let frames = frames(shared, &asked.faults, &plan, Talk::OpenAi(openai));
        let turn = admit(shared, id, asked).await?;
        return Ok(stream(Answer::new(turn, frames, plan, cut)));
    }
    let turn = admit(shared, id, asked).await?;
    let mut document = whole(&turn, openai, &plan).await?;
    let body = match cut {
        Some(most) if most < document.len() as u64 => {
            document.truncate(most as usize);
            Body::Broken(Broken::new(turn, document))
        }
        _ => {
            turn.job.end(Outcome::Ended);
            Body::Whole(Full::new(document))
        }
    };
    let mut response = Response::new(body);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

/// The body without the fields that say nothing.
fn without_ignored(shared: &Shared, body: &Bytes) -> Bytes {
    let ignored = &shared.settings.ignored_fields;
    if ignored.is_empty() {
        return body.clone();
    }
    match serde_json::from_slice::<serde_json::Map<_, _>>(body) {
        Ok(mut fields) => {
            fields.retain(|name, _: &mut serde_json::Value| !ignored.contains(name));
            serde_json::Value::Object(fields).to_string().into()
        }
        // Its reader says what is wrong with it.
        Err(_) => body.clone(),
    }
}

/// Only the model of this worker can be asked for.
pub(crate) fn check_model(shared: &Shared, model: &str) -> Result<(), Refusal> {
    let served = &shared.settings.model;
    if model == served.as_str() {
        return Ok(());
    }
    let message = format!("there is no such model here: this worker serves `{served}`");
    Err(Refusal::new(ErrorCode::NotFound, message).word("model_not_found"))
}

/// One token for four bytes, and at least one.
pub(crate) fn count(input: &Input) -> u64 {
    let bytes = match input {
        Input::Prompt(text) => text.len(),
        Input::Messages(messages) => messages.iter().map(|message| message.content.len()).sum(),
    };
    (bytes as u64).div_ceil(4).max(1)
}

fn plan(
    shared: &Shared,
    faults: &Faults,
    input: &Input,
    max_tokens: Option<u32>,
) -> Result<Plan, Refusal> {
    let settings = &shared.settings;
    let (tokens_in, context) = (count(input), settings.context);
    let most = max_tokens.map_or(1, u64::from);
    if tokens_in + most > context {
        let field = match input {
            Input::Prompt(_) => "prompt",
            Input::Messages(_) => "messages",
        };
        let constraint = format!("with max_tokens at most {context} tokens, the context");
        let message = format!("it has {tokens_in} tokens, with those of the answer over {context}");
        return Err(Refusal::field(field, &constraint, message).word("context_length_exceeded"));
    }
    let answer = settings.answer.min(context - tokens_in);
    Ok(Plan {
        total: max_tokens.map_or(answer, u64::from),
        rate: faults.rate.unwrap_or(settings.rate),
        first_token: settings.first_token,
        hang_after: faults.hang_after,
        tokens_in,
        stop_reason: match max_tokens {
            Some(_) => StopReason::MaxTokens,
            None => StopReason::Eos,
        },
    })
}

fn frames(shared: &Shared, faults: &Faults, plan: &Plan, talk: Talk) -> Frames {
    Frames {
        talk,
        token_bytes: shared.settings.token_bytes,
        malformed: faults.malformed,
        spoiled: plan.total.saturating_sub(1).min(1),
    }
}

/// Lets a request wait for its slot, unless it is refused or hangs.
async fn admit(shared: &Arc<Shared>, id: String, asked: Asked) -> Result<Turn, Refusal> {
    let job = Arc::new(Job::new(id, &asked));
    if let Some(status) = asked.faults.status {
        let code = match status {
            400 => ErrorCode::InvalidRequest,
            429 => ErrorCode::QueueFull,
            503 => ErrorCode::OutOfMemory,
            _ => ErrorCode::Internal,
        };
        shared.refuse(job);
        return Err(Refusal::new(code, "a fault that was asked for"));
    }
    let turn = shared.admit(job).map_err(|code| {
        let message = match code {
            ErrorCode::QueueFull => "as many requests wait as may",
            ErrorCode::Conflict => "a request with this job_id is there already",
            _ => "the worker is about to end",
        };
        Refusal::new(code, message)
    })?;
    if asked.faults.hang {
        match pending::<Infallible>().await {}
    }
    Ok(turn)
}

fn stream(answer: Answer) -> Response<Body> {
    let mut response = Response::new(Body::Stream(Box::new(answer)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
