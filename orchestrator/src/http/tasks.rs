//! `/v2/tasks`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http_front::{Caller, CorrelationId, Json, KeyValue, Refusal, SpanKind, Trace, random};
use pool_core::serving::{ErrorCode, KEEP_ALIVE, Priority, TaskRequest};
use schemars::JsonSchema;
use serde::Serialize;

use super::refused::{no_model, refused, unstored};
use crate::core::{Explanation, Stage, TaskId};
use crate::daemon::{self, Orchestrator, Who, accept, new_task, tokens_of};
use crate::store::{self, State as Stage2, Stored, TaskLog};

/// The answer to a submission.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    job_id: TaskId,
    status: &'static str,
    queue_position: usize,
    events_url: String,
    predicted_start_ms: u64,
    /// Tokens of the answer at most.
    max_tokens: u64,
}

/// `POST /v2/tasks`
pub async fn submit(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(CorrelationId(correlation_id)): Extension<CorrelationId>,
    Extension(trace): Extension<Trace>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    Json(body): Json,
) -> Result<Response, Refusal> {
    let submitted = Instant::now();
    let mut request = TaskRequest::from_json(&body)?;
    let model = request
        .model
        .parse()
        .map_err(|_| no_model(&request.model))?;
    let tenant = Who::tenant(caller.as_ref());
    let max_tokens = request.inference.max_tokens.map(u64::from);
    let input = &request.inference.input;
    let tokens = tokens_of(&orchestrator, &tenant, &model, input, max_tokens).await;
    let id = TaskId::from(format!("t-{:016x}{:016x}", random(), random()));
    let task = new_task(&request, id.clone(), tenant.clone(), tokens);
    let task = task.ok_or_else(|| no_model(&request.model))?;
    // What one tenant's prompts left on a worker is never used for another's.
    request
        .inference
        .cache_salt
        .get_or_insert_with(|| tenant.to_string());
    let deadline = task.deadline_ms;
    let (admitted, turn) = orchestrator.submit(task).map_err(refused)?;
    let now = orchestrator.now().unix_ms;
    let stored = store::Task {
        id: id.to_string(),
        tenant: tenant.to_string(),
        model: request.model.clone(),
        class: class(request.priority).to_owned(),
        session: request.session_id.clone(),
        body: Bytes::from(body),
        tokens,
        submitted_at: now,
        deadline: deadline.map(|ms| now + ms),
        correlation_id: correlation_id.clone(),
    };
    let task = daemon::Task {
        // It outlives the request.
        trace: trace.child("task", SpanKind::Internal, || {
            vec![
                KeyValue::new("rbee.task_id", id.to_string()),
                KeyValue::new("gen_ai.request.model", request.model.clone()),
            ]
        }),
        id: id.clone(),
        request: request.inference,
        model: request.model,
        correlation_id,
        submitted,
    };
    let position = admitted.queue_position;
    let kept = accept(&orchestrator, task, stored, turn, position).await;
    kept.map_err(unstored)?;
    let accepted = Accepted {
        events_url: format!("/v2/tasks/{id}/events"),
        job_id: id,
        status: "queued",
        queue_position: position,
        predicted_start_ms: admitted.predicted_start_ms,
        max_tokens: admitted.max_tokens,
    };
    Ok((StatusCode::ACCEPTED, axum::Json(accepted)).into_response())
}

fn class(priority: Priority) -> &'static str {
    match priority {
        Priority::Interactive => "interactive",
        Priority::Batch => "batch",
    }
}

/// `GET /v2/tasks/{id}`
#[derive(Debug, Serialize, JsonSchema)]
pub struct TaskState {
    job_id: String,
    status: Stage2,
    model: String,
    priority: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker: Option<String>,
    attempts: u32,
    submitted_at_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_position: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    predicted_start_ms: Option<u64>,
}

pub async fn state(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    Path(id): Path<String>,
) -> Result<axum::Json<TaskState>, Refusal> {
    let stored = own(&orchestrator, caller.as_ref(), &id).await?;
    let explained = orchestrator.ask(|core, now| core.explain(now, &id.as_str().into()));
    let (queue_position, predicted_start_ms) = match explained.map(|explained| explained.state) {
        Some(Stage::Queued {
            queue_position,
            predicted_start_ms,
            ..
        }) => (Some(queue_position), Some(predicted_start_ms)),
        _ => (None, None),
    };
    Ok(axum::Json(TaskState {
        job_id: stored.task.id,
        status: stored.state,
        model: stored.task.model,
        priority: stored.task.class,
        worker: stored.worker,
        attempts: stored.attempts,
        submitted_at_ms: stored.task.submitted_at,
        ended_at_ms: stored.ended_at,
        queue_position,
        predicted_start_ms,
    }))
}

/// `GET /v2/tasks/{id}/explain`
pub async fn explain(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    Path(id): Path<String>,
) -> Result<axum::Json<Explanation>, Refusal> {
    let id = TaskId::from(id);
    let explained = orchestrator.ask(|core, now| core.explain(now, &id));
    let tenant = Who::tenant(caller.as_ref());
    let own = explained.filter(|explained| explained.task.tenant == tenant);
    own.map(axum::Json).ok_or_else(not_there)
}

/// `POST /v2/tasks/{id}/cancel` and `DELETE /v2/tasks/{id}`
pub async fn cancel(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    let stored = own(&orchestrator, caller.as_ref(), &id).await?;
    orchestrator.cancel(&stored.task.id.as_str().into());
    Ok(StatusCode::ACCEPTED)
}

/// `GET /v2/tasks/{id}/events`
pub async fn events(
    State(orchestrator): State<Arc<Orchestrator>>,
    Extension(Caller(caller)): Extension<Caller<Who>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let stored = own(&orchestrator, caller.as_ref(), &id).await?;
    let after = match headers.get("last-event-id") {
        None => None,
        Some(value) => {
            let id = value
                .to_str()
                .ok()
                .and_then(|text| text.trim().parse().ok());
            let wrong = || {
                let message = "the header Last-Event-ID is not the id of an event".to_owned();
                Refusal::field("Last-Event-ID", "a whole number", message)
            };
            Some(id.ok_or_else(wrong)?)
        }
    };
    let log = orchestrator.store.log(&stored.task.id).await;
    let log = log.map_err(unstored)?.ok_or_else(not_there)?;
    let keep_alive = orchestrator.limits.keep_alive;
    let reader = Reader::begin(orchestrator, stored.task.id.as_str().into());
    let body = Body::from_stream(follow(log, after, keep_alive, reader));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, body).into_response())
}

/// The events, with a comment where none comes for a while.
fn follow(
    log: TaskLog,
    after: Option<u64>,
    keep_alive: Duration,
    reader: Reader,
) -> impl Stream<Item = Result<Bytes, store::StoreError>> + Send {
    let events = Box::pin(log.follow(after));
    futures::stream::unfold((events, reader), move |(mut events, reader)| async move {
        let next = match tokio::time::timeout(keep_alive, events.next()).await {
            Ok(next) => next?,
            Err(_) => Ok(Bytes::from_static(KEEP_ALIVE.as_bytes())),
        };
        Some((next, (events, reader)))
    })
}

/// Somebody who follows the events of a task. When the last one has left, the task has some time until it is cancelled.
struct Reader {
    orchestrator: Arc<Orchestrator>,
    id: TaskId,
}

impl Reader {
    fn begin(orchestrator: Arc<Orchestrator>, id: TaskId) -> Self {
        orchestrator.follows(&id, true);
        Self { orchestrator, id }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let Some(left) = self.orchestrator.follows(&self.id, false) else {
            return;
        };
        let (orchestrator, id) = (Arc::clone(&self.orchestrator), self.id.clone());
        tokio::spawn(async move {
            tokio::time::sleep(orchestrator.limits.grace).await;
            if orchestrator.is_left_since(&id, left) {
                orchestrator.cancel(&id);
            }
        });
    }
}

/// A task of the caller; those of others are not there.
async fn own(
    orchestrator: &Orchestrator,
    caller: Option<&Who>,
    id: &str,
) -> Result<Stored, Refusal> {
    let stored = orchestrator.store.task(id).await.map_err(unstored)?;
    let tenant = Who::tenant(caller);
    let own = stored.filter(|stored| stored.task.tenant == tenant.as_str());
    own.ok_or_else(not_there)
}

fn not_there() -> Refusal {
    Refusal::new(ErrorCode::NotFound, "there is no such task")
}
