//! A task of `/v2`, from its acceptance to its last event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_front::Trace;
use pool_core::serving::{ExecuteRequest, Failure, FailureCode, Frame, StreamEvent};

use super::Orchestrator;
use super::attempt::{self, Outcome};
use super::span::outcome;
use super::turns::{Ended, Turn};
use crate::core::{Next, TaskId, Used};
use crate::store::{self, Events, StoreError};

/// What is asked, for every attempt.
pub struct Task {
    pub id: TaskId,
    /// Without its `job_id`.
    pub request: ExecuteRequest,
    /// As its client named it.
    pub model: String,
    pub correlation_id: String,
    /// Its span, from its acceptance to its end.
    pub trace: Trace,
    pub submitted: Instant,
}

impl Task {
    /// The body of `POST /execute`.
    pub(super) fn execute(&self, job_id: &str) -> Bytes {
        let request = ExecuteRequest {
            job_id: job_id.to_owned(),
            ..self.request.clone()
        };
        serde_json::to_vec(&request).unwrap_or_default().into()
    }
}

/// The frame of the event `queued`, which is a task's first.
fn queued(id: &TaskId, position: usize) -> Frame {
    let data = serde_json::json!({"type": "queued", "job_id": id, "queue_position": position});
    Frame {
        event: "queued".to_owned(),
        id: Some("0".to_owned()),
        data: data.to_string(),
    }
}

/// Stores a task that the core has admitted; from then on it is driven to its end, whoever listens.
///
/// # Errors
/// It could not be stored: it is cancelled.
pub async fn accept(
    orchestrator: &Arc<Orchestrator>,
    task: Task,
    stored: store::Task,
    turn: Turn,
    position: usize,
) -> Result<(), StoreError> {
    let frame = queued(&task.id, position).to_string();
    let first = Events::new(0, frame).ok_or(StoreError::Closed)?;
    // The turn is dropped with the error.
    orchestrator.store.accept(stored, first).await?;
    tokio::spawn(drive(Arc::clone(orchestrator), task, turn, 1));
    orchestrator.pump();
    Ok(())
}

/// Runs a task until it ends. `next_id` is the id of its next event.
pub(super) async fn drive(
    orchestrator: Arc<Orchestrator>,
    task: Task,
    mut turn: Turn,
    mut next_id: u64,
) {
    let store = &orchestrator.store;
    let id = task.id.as_str();
    let ended = loop {
        let dispatch = match turn.dispatched(&task.trace).await {
            Ok(dispatch) => dispatch,
            Err(ended) => break ended,
        };
        drop(store.dispatched(id, dispatch.worker.as_str()));
        match attempt::run(&orchestrator, &task, &dispatch, &mut turn, &mut next_id).await {
            Outcome::Completed(end, last) => {
                let used = Used {
                    tokens_in: end.tokens_in,
                    tokens_out: end.tokens_out,
                };
                if turn.ended(used) {
                    task.trace.set(|| vec![outcome("completed")]);
                    return complete(&orchestrator, id, last).await;
                }
                // Something else ended it first, and its last event takes the place of this one.
                next_id = last.first();
            }
            Outcome::Failed(error) => match turn.failed(error) {
                Next::Requeued => drop(store.queued(id)),
                Next::Failed(failure) => break Ended::Failed(failure),
                Next::Stale => {}
            },
            Outcome::Stopped(ended) => break ended,
        }
    };
    task.trace.set(|| vec![outcome(ended.as_str())]);
    if let Ended::Failed(failure) = &ended {
        task.trace.fail(failure.code.as_str());
    }
    stop(&orchestrator, id, ended, next_id).await;
}

/// Ends a task with an `error`.
pub(super) async fn stop(orchestrator: &Arc<Orchestrator>, id: &str, ended: Ended, next_id: u64) {
    let (outcome, failure) = match ended {
        Ended::Failed(failure) => (store::Outcome::Failed, failure),
        Ended::Cancelled => {
            let failure = Failure {
                code: FailureCode::Cancelled,
                message: "the task was cancelled".to_owned(),
                retriable: false,
            };
            (store::Outcome::Cancelled, failure)
        }
    };
    if let Err(error) = fail(orchestrator, id, outcome, &failure, next_id).await {
        end_later(orchestrator, id, outcome, failure, &error);
    }
}

/// Stores the answer of a task. One that cannot be stored was not given: its task ends with an `error`.
async fn complete(orchestrator: &Arc<Orchestrator>, id: &str, last: Events) {
    let at = orchestrator.now().unix_ms;
    let completed = store::Outcome::Completed;
    if let Err(error) = orchestrator.store.finish(id, completed, last, at).await {
        let failure = Failure {
            code: FailureCode::Internal,
            message: "the answer could not be stored".to_owned(),
            retriable: true,
        };
        end_later(orchestrator, id, store::Outcome::Failed, failure, &error);
    }
}

async fn fail(
    orchestrator: &Orchestrator,
    id: &str,
    outcome: store::Outcome,
    failure: &Failure,
    next_id: u64,
) -> Result<(), StoreError> {
    let frame = StreamEvent::Error(failure.clone()).to_frame(next_id);
    let Some(last) = Events::new(next_id, frame.to_string()) else {
        return Ok(());
    };
    let at = orchestrator.now().unix_ms;
    orchestrator.store.finish(id, outcome, last, at).await
}

/// The first pause before the end of a task is stored again, and the longest.
const AGAIN: Duration = Duration::from_millis(250);
const AGAIN_MOST: Duration = Duration::from_secs(30);

/// Ends a task after its last stored event, as soon as the store takes that. Those who follow it have been told that it fails.
fn end_later(
    orchestrator: &Arc<Orchestrator>,
    id: &str,
    outcome: store::Outcome,
    failure: Failure,
    error: &StoreError,
) {
    tracing::error!(task = id, %error, "the end of a task cannot be stored yet");
    let (orchestrator, id) = (Arc::clone(orchestrator), id.to_owned());
    tokio::spawn(async move {
        let mut pause = AGAIN;
        loop {
            let stored = orchestrator.store.task(&id).await;
            let ended = match stored {
                Ok(Some(task)) => {
                    fail(&orchestrator, &id, outcome, &failure, task.next_event).await
                }
                Ok(None) => return,
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => return tracing::info!(task = id, "the end of a task is stored"),
                // A restart finds what a store that was closed has not been told.
                Err(StoreError::Ended(_) | StoreError::Closed) => return,
                Err(_) => tokio::time::sleep(pause).await,
            }
            pause = AGAIN_MOST.min(pause * 2);
        }
    });
}
