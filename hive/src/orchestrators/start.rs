//! Starting an orchestrator: done when it says that it is ready.

use std::time::Duration;

use pool_core::build::ORCHESTRATOR;
use pool_core::orchestrator::{OrchestratorRecord, OrchestratorSpec};
use pool_core::rpc::{ErrorCode, HiveError, Progress};
use pool_core::worker::{ProcessIdentity, WorkerState};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep};

use super::begin::{self, Place};
use super::{PATIENCE, config, probe, record};
use crate::error::{Result, fail};
use crate::expect::Expect;
use crate::home::Locked;
use crate::services::{self, log};
use crate::{Hive, process, tidy};

/// How long it may take until it is ready.
const START: Duration = Duration::from_secs(30);

/// Between two looks at one that is starting.
const INTERVAL: Duration = Duration::from_millis(25);

/// Starts an orchestrator, or takes up the live one that is as it should be, and waits until it is ready.
///
/// One that is otherwise finishes its streams first and gives up its port; where the new one does not become ready, it is
/// started again.
pub async fn start(
    hive: &Hive,
    spec: OrchestratorSpec,
    expect: &Expect,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<OrchestratorRecord> {
    let answers = probe(&hive.http, &spec).await;
    let place = block_in_place(|| {
        let home = hive.home.lock()?;
        expect.check(&home)?;
        let place = begin::look(hive, &home, &spec, answers)?;
        tidy(hive, &home);
        match &place {
            Place::Empty => drop(begin::check(hive, &home, &spec, None)?),
            Place::Taken(_) => {}
            Place::Another(old, process) => {
                begin::check(hive, &home, &spec, Some(old))?;
                let leaving = OrchestratorRecord {
                    state: WorkerState::Draining,
                    process: Some(process.clone()),
                    ..old.clone()
                };
                record::save(&home, &leaving)?;
            }
        }
        Ok(place)
    })?;
    let (begun, old) = match place {
        Place::Taken(found) => (found, None),
        Place::Empty => (begin_own(hive, spec)?, None),
        Place::Another(old, process) => {
            let message = "the old one finishes its streams".to_owned();
            progress(Progress {
                message,
                percent: None,
                bytes: None,
            });
            leave(hive, &old, &process).await?;
            (begin_own(hive, spec)?, Some(old))
        }
    };
    let error = match wait(hive, &begun).await {
        Ok(()) => return block_in_place(|| settle(hive, begun)),
        Err(reason) => give_up(hive, &begun, &reason).await?,
    };
    match old.filter(|old| old.state == WorkerState::Ready) {
        None => Err(error),
        Some(old) => Err(bring_back(hive, old, error).await),
    }
}

/// Starts this build's program.
fn begin_own(hive: &Hive, spec: OrchestratorSpec) -> Result<OrchestratorRecord> {
    block_in_place(|| {
        let home = hive.home.lock()?;
        match begin::look(hive, &home, &spec, false)? {
            Place::Empty => {}
            Place::Taken(found) => return Ok(found),
            Place::Another(..) => {
                return Err(fail(
                    ErrorCode::InUse,
                    format!("another orchestrator of {} came meanwhile", spec.fleet),
                    "apply again",
                ));
            }
        }
        let program = services::program(hive, ORCHESTRATOR)?;
        begin::begin(hive, &home, spec, program.display().to_string())
    })
}

/// Ends one that makes place.
async fn leave(hive: &Hive, old: &OrchestratorRecord, process: &ProcessIdentity) -> Result<()> {
    let service = record::service_of(&hive.home, old);
    block_in_place(|| service.release(&hive.home))?;
    services::end(process, PATIENCE).await?;
    block_in_place(|| service.forget(&hive.home.lock()?))
}

/// Waits until it is ready; else why it is not.
async fn wait(hive: &Hive, begun: &OrchestratorRecord) -> std::result::Result<(), String> {
    let deadline = Instant::now() + START;
    loop {
        let is_ready = probe(&hive.http, &begun.spec).await;
        // Another program may have its port once it is gone.
        if !begun.process.as_ref().is_some_and(process::is_alive) {
            return Err("it ended before it was ready".into());
        }
        if is_ready {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(format!("it was not ready within {} s", START.as_secs()));
        }
        sleep(INTERVAL).await;
    }
}

/// Writes down that it is ready.
fn settle(hive: &Hive, begun: OrchestratorRecord) -> Result<OrchestratorRecord> {
    let home = hive.home.lock()?;
    let before = still_wanted(&home, &begun)?;
    let ready = OrchestratorRecord {
        state: WorkerState::Ready,
        ..before.clone()
    };
    if ready != before {
        record::save(&home, &ready)?;
    }
    config::prune(&home, &ready.spec)?;
    Ok(ready)
}

/// The record as it is now, unless somebody stops or stopped it meanwhile.
fn still_wanted(home: &Locked, begun: &OrchestratorRecord) -> Result<OrchestratorRecord> {
    let current = record::load(home, &begun.spec.fleet)?;
    let is_wanted = |current: &OrchestratorRecord| {
        current.started_at == begun.started_at && current.state != WorkerState::Draining
    };
    current.filter(is_wanted).ok_or_else(|| {
        fail(
            ErrorCode::WorkerFailed,
            format!(
                "the orchestrator of {} was stopped while it started",
                begun.spec.fleet
            ),
            "apply again if it is still wanted",
        )
    })
}

/// Ends one that did not become ready, and says why with the end of its log.
async fn give_up(hive: &Hive, begun: &OrchestratorRecord, reason: &str) -> Result<HiveError> {
    let service = record::service_of(&hive.home, begun);
    let is_new = begun.state == WorkerState::Starting;
    if is_new {
        block_in_place(|| service.forget(&hive.home.lock()?))?;
        if let Some(process) = &begun.process {
            services::end(process, Duration::from_secs(2)).await?;
        }
        block_in_place(|| {
            let home = hive.home.lock()?;
            let mut current = still_wanted(&home, begun)?;
            current.state = WorkerState::Failed;
            current.failure = Some(reason.to_owned());
            record::save(&home, &current)
        })?;
    }
    let printed = log::quoted(&log::tail(&service.log, 20));
    let fleet = &begun.spec.fleet;
    Ok(fail(
        ErrorCode::WorkerFailed,
        format!("the orchestrator of {fleet} did not become ready: {reason}{printed}"),
        format!("the whole log: rbee-hive orchestrator logs {fleet}"),
    ))
}

/// Starts what served before, with the program that it had; the error says what came of it.
async fn bring_back(hive: &Hive, old: OrchestratorRecord, mut error: HiveError) -> HiveError {
    let again = async {
        let begun = block_in_place(|| {
            let home = hive.home.lock()?;
            begin::begin(hive, &home, old.spec, old.program)
        })?;
        match wait(hive, &begun).await {
            Ok(()) => block_in_place(|| settle(hive, begun)),
            Err(reason) => Err(give_up(hive, &begun, &reason).await?),
        }
    };
    let came = match again.await {
        Ok(record) => format!("; the old one serves again, at {}", record.spec.listen),
        Err(failed) => format!("; the old one does not serve again: {}", failed.message),
    };
    // Before its log, where that stands behind.
    let end = error.message.find('\n').unwrap_or(error.message.len());
    error.message.insert_str(end, &came);
    error
}
