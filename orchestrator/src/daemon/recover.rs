//! What a restart finds in the store.

use std::sync::Arc;
use std::time::Instant;

use pool_core::serving::{Failure, FailureCode, TaskRequest};

use super::task::{Task, drive, stop};
use super::turns::Ended;
use super::{Orchestrator, body};
use crate::core::{NewTask, Usage};
use crate::store::{StoreError, Stored};

/// Takes up every task that had not ended: those without a token begin again, the others end with an error that says so.
pub async fn recover(orchestrator: &Arc<Orchestrator>) -> Result<(), StoreError> {
    for usage in orchestrator.store.usage().await? {
        let used = Usage {
            unix_ms: usage.unix_ms,
            day: usage.day,
            minute: usage.minute,
        };
        orchestrator.ask(|core, now| core.restore_usage(now, &usage.tenant.into(), used));
    }
    orchestrator.restore_promised().await?;
    let tasks = orchestrator.store.open_tasks().await?;
    let count = tasks.len();
    for stored in tasks {
        resume(orchestrator, stored).await;
    }
    if count > 0 {
        tracing::info!(tasks = count, "tasks of before the restart taken up");
        orchestrator.pump();
    }
    Ok(())
}

async fn resume(orchestrator: &Arc<Orchestrator>, stored: Stored) {
    let id = stored.task.id.as_str();
    let fail = |message: &str| {
        Ended::Failed(Failure {
            code: FailureCode::Internal,
            message: message.to_owned(),
            retriable: true,
        })
    };
    if stored.sent_tokens > 0 {
        let tenant = stored.task.tenant.as_str().into();
        orchestrator.charge(&tenant, stored.task.tokens + stored.sent_tokens);
        let ended = fail("the orchestrator was restarted in the middle of the answer");
        return stop(orchestrator, id, ended, stored.next_event).await;
    }
    let Some((new, request)) = read(orchestrator, &stored) else {
        let ended = fail("the orchestrator was restarted, and cannot read the task any more");
        return stop(orchestrator, id, ended, stored.next_event).await;
    };
    let (id, tenant) = (new.id.clone(), new.tenant.clone());
    orchestrator.ask(|core, now| core.restore(now, [new]));
    let turn = orchestrator.adopt(id.clone(), tenant);
    let correlation_id = stored.task.correlation_id;
    let task = Task {
        // The trace of the request that asked for it ended with the process that took it.
        trace: orchestrator.traces.alone("task", &correlation_id),
        id,
        request: request.inference,
        model: request.model,
        correlation_id,
        submitted: Instant::now(),
    };
    drop(orchestrator.store.queued(task.id.as_str()));
    tokio::spawn(drive(
        Arc::clone(orchestrator),
        task,
        turn,
        stored.next_event,
    ));
}

fn read(orchestrator: &Orchestrator, stored: &Stored) -> Option<(NewTask, TaskRequest)> {
    let request = TaskRequest::from_json(&stored.task.body).ok()?;
    let mut new = body::new_task(
        &request,
        stored.task.id.as_str().into(),
        stored.task.tenant.as_str().into(),
        stored.task.tokens,
    )?;
    let now = orchestrator.now().unix_ms;
    new.deadline_ms = stored.task.deadline.map(|at| at.saturating_sub(now).max(1));
    Some((new, request))
}
