//! One `POST /execute`, from its answer to the last frame.

use std::sync::Arc;

use http_front::Trace;
use hyper::StatusCode;
use pool_core::serving::{CancelRequest, End, ErrorBody, Input};

use super::span::{AttemptSpan, Operation};
use super::turns::{Broken, Ended, Turn};
use super::upstream::Answer;
use super::{Orchestrator, Task};
use crate::core::relay::Relay;
use crate::core::{AttemptError, Dispatch, Used};
use crate::store::Events;

/// How an attempt came to its end.
pub enum Outcome {
    /// With these last frames.
    Completed(End, Events),
    Failed(AttemptError),
    /// The task ended meanwhile.
    Stopped(Ended),
}

impl From<Broken> for Outcome {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Failed(error) => Self::Failed(error),
            Broken::Stopped(ended) => Self::Stopped(ended),
        }
    }
}

/// Runs a task on a worker, and stores what it says. `next_id` counts its events.
pub async fn run(
    orchestrator: &Arc<Orchestrator>,
    task: &Task,
    dispatch: &Dispatch,
    turn: &mut Turn,
    next_id: &mut u64,
) -> Outcome {
    // Another attempt on the same worker must not meet the name of one that is still being cancelled.
    let job_id = format!("{}-{}", task.id, dispatch.attempt);
    let operation = match task.request.input {
        Input::Messages(_) => Operation::Chat,
        Input::Prompt(_) => Operation::TextCompletion,
    };
    let mut span = AttemptSpan::begin(&task.trace, dispatch, operation, &task.model);
    let asked = Asked {
        dispatch,
        job_id: &job_id,
        trace: span.trace(),
    };
    let outcome = stream(orchestrator, task, asked, turn, next_id).await;
    match &outcome {
        Outcome::Completed(end, _) => span.completed(Used {
            tokens_in: end.tokens_in,
            tokens_out: end.tokens_out,
        }),
        Outcome::Failed(error) => span.failed(error),
        Outcome::Stopped(_) => {}
    }
    if !matches!(outcome, Outcome::Completed(..)) {
        cancel(orchestrator, dispatch, &job_id, &task.correlation_id);
    }
    outcome
}

/// What makes an attempt another one than the next.
struct Asked<'a> {
    dispatch: &'a Dispatch,
    job_id: &'a str,
    trace: &'a Trace,
}

async fn stream(
    orchestrator: &Arc<Orchestrator>,
    task: &Task,
    asked: Asked<'_>,
    turn: &mut Turn,
    next_id: &mut u64,
) -> Outcome {
    let stall = orchestrator.limits.stall;
    let body = task.execute(asked.job_id);
    let post = orchestrator.upstream.post(
        &asked.dispatch.url,
        "/execute",
        body,
        &task.correlation_id,
        asked.trace,
    );
    let mut answer = match turn.unless_told(stall, post).await {
        Ok(answer) => answer,
        Err(broken) => return broken.into(),
    };
    if answer.status != StatusCode::OK {
        return Outcome::Failed(refused(answer).await);
    }
    let mut relay = Relay::new(task.id.as_str(), *next_id);
    let mut first_token = true;
    loop {
        let chunk = match turn.unless_told(stall, answer.next()).await {
            Ok(chunk) => chunk,
            Err(broken) => return broken.into(),
        };
        let Some(chunk) = chunk else {
            return Outcome::Failed(AttemptError::Cut);
        };
        let mut frames = Vec::with_capacity(chunk.len() + 32);
        let pushed = relay.push(&chunk, &mut frames);
        let passed = match pushed {
            Ok(passed) => passed,
            Err(fault) => {
                let message = fault.to_string();
                return Outcome::Failed(AttemptError::Protocol { message });
            }
        };
        if passed.started {
            turn.started();
            let worker = asked.dispatch.worker.as_str();
            drop(orchestrator.store.running(task.id.as_str(), worker));
        }
        if passed.frames > 0 && !turn.passes_on(passed.tokens) {
            // What ended the task is on its way.
            continue;
        }
        if passed.tokens > 0 && std::mem::take(&mut first_token) {
            orchestrator.metrics.first_token(task.submitted.elapsed());
        }
        let first = *next_id;
        *next_id = relay.next_id();
        let events = Events::new(first, frames).map(|events| events.with_tokens(passed.tokens));
        match passed.terminal {
            Some(Ok(end)) => {
                let Some(events) = events else {
                    return Outcome::Failed(AttemptError::Cut);
                };
                return Outcome::Completed(end, events);
            }
            Some(Err(failure)) => return Outcome::Failed(AttemptError::Worker { failure }),
            None => {}
        }
        if let Some(events) = events {
            // Shown once it is stored; a store that fails fails the end of the task too.
            drop(orchestrator.store.append(task.id.as_str(), events));
        }
    }
}

/// What an answer that is not 200 says.
async fn refused(answer: Answer) -> AttemptError {
    match answer.whole().await {
        Ok((status, body)) => {
            let said: Option<ErrorBody> = serde_json::from_slice(&body).ok();
            let message = said.map(|body| body.error.message).unwrap_or_default();
            AttemptError::Status {
                status: status.as_u16(),
                message,
            }
        }
        Err(error) => error,
    }
}

/// Tells a worker that nobody wants an answer any more; the connection that closes says so too.
fn cancel(orchestrator: &Arc<Orchestrator>, dispatch: &Dispatch, job_id: &str, correlation: &str) {
    let (orchestrator, url) = (Arc::clone(orchestrator), dispatch.url.clone());
    let (job_id, correlation) = (job_id.to_owned(), correlation.to_owned());
    tokio::spawn(async move {
        let began = std::time::Instant::now();
        let body = serde_json::to_vec(&CancelRequest { job_id }).unwrap_or_default();
        let (body, trace) = (body.into(), Trace::default());
        let post = orchestrator
            .upstream
            .post(&url, "/cancel", body, &correlation, &trace);
        if let Ok(Ok(_)) = tokio::time::timeout(orchestrator.limits.probe, post).await {
            orchestrator.metrics.told_to_cancel(began.elapsed());
        }
    });
}
