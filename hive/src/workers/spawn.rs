//! Spawning a worker: done when it answered a real request.

use std::time::Duration;

use jiff::Timestamp;
use pool_core::rpc::{ErrorCode, HiveError, Progress};
use pool_core::supply::Secret;
use pool_core::worker::{Canary, WorkerRecord, WorkerSpec, WorkerState};
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, timeout_at};

use super::ready::{self, Reported, Unanswered};
use super::{begin, ports, record, start};
use crate::error::{Result, fail};
use crate::expect::Expect;
use crate::home::Locked;
use crate::services::{self, log};
use crate::{Hive, links, process, tidy};

/// How a worker is spawned, apart from what it is.
#[derive(Debug)]
pub struct SpawnOptions {
    /// What must still be so when it is begun.
    pub expect: Expect,
    /// What it must answer.
    pub canary: Canary,
    pub protect: bool,
    /// Exactly this port; the first free one when absent.
    pub port: Option<u16>,
    /// How long it may take until it has answered.
    pub patience: Duration,
}

impl Default for SpawnOptions {
    fn default() -> Self {
        Self {
            expect: Expect::default(),
            canary: Canary::default(),
            protect: false,
            port: None,
            patience: Duration::from_mins(1),
        }
    }
}

/// Between two looks at a worker that is starting.
const INTERVAL: Duration = Duration::from_millis(25);

/// Starts a worker, or takes up the live one of the same address and spec, and waits until it
/// answered a real request.
///
/// A worker that fails at that is stopped; its record says why and stays until the next attempt.
pub async fn spawn(
    hive: &Hive,
    spec: WorkerSpec,
    options: SpawnOptions,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<WorkerRecord> {
    let deadline = Instant::now() + options.patience;
    let has_device = begin::has(spec.device).await;
    let (mut record, is_begun) = block_in_place(|| {
        let home = hive.home.lock()?;
        options.expect.check(&home)?;
        let place = begin::look(&home, &spec)?;
        place.clear(&home)?;
        tidy(hive, &home);
        if let Some(mut record) = place.live {
            if record.protect != options.protect {
                record.protect = options.protect;
                record::save(&home, &record)?;
            }
            Ok((record, false))
        } else {
            has_device?;
            let record = begin::begin(hive, &home, spec, &options)?;
            Ok((record, true))
        }
    })?;
    loop {
        let answered = wait(hive, &record, &options.canary, progress);
        let trouble = match timeout_at(deadline, answered).await {
            Ok(Ok(mut ready)) => {
                ready.was_loading |= is_begun;
                return block_in_place(|| settle(hive, &record, &ready));
            }
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Failed(format!(
                "it did not answer within {} s",
                options.patience.as_secs()
            )),
        };
        let (code, reason) = match trouble {
            Trouble::Ended => {
                let is_fixed = options.port.is_some();
                if !is_fixed && block_in_place(|| move_on(hive, &mut record))? {
                    continue;
                }
                let reason = "it ended before it was ready".to_owned();
                (ErrorCode::WorkerFailed, reason)
            }
            Trouble::Failed(reason) => (ErrorCode::WorkerFailed, reason),
            Trouble::AnsweredWrongly(reason) => (ErrorCode::GateFailed, reason),
        };
        return Err(give_up(hive, &record, code, reason).await?);
    }
}

/// Why a worker did not become ready.
enum Trouble {
    Ended,
    Failed(String),
    AnsweredWrongly(String),
}

/// A worker that has answered.
struct Ready {
    /// Bytes of its device that it takes.
    memory: u64,
    /// It was seen before it could answer.
    was_loading: bool,
}

/// Waits until the worker has answered. Without an end of its own where a worker neither answers nor ends.
async fn wait(
    hive: &Hive,
    record: &WorkerRecord,
    canary: &Canary,
    progress: &(dyn Fn(Progress) + Sync),
) -> std::result::Result<Ready, Trouble> {
    let mut last = None;
    let mut was_loading = false;
    let token = fleet_token(hive, record)?;
    loop {
        let reported = ready::ask(&hive.http, record).await;
        if let Reported::Ready(memory) = reported {
            match ready::canary(&hive.http, record, canary, token.as_ref()).await {
                Err(Unanswered::Busy) => {}
                Err(Unanswered::Wrong(answer)) => {
                    let reason = format!("its test request was answered wrongly: {answer}");
                    return Err(Trouble::AnsweredWrongly(reason));
                }
                Err(Unanswered::Refused(reason)) => {
                    let reason = format!("its test request was refused: {reason}");
                    return Err(Trouble::AnsweredWrongly(reason));
                }
                Err(failed) => {
                    let reason = format!("a test request was not answered: {failed}");
                    return Err(Trouble::Failed(reason));
                }
                Ok(()) => {
                    return Ok(Ready {
                        memory,
                        was_loading,
                    });
                }
            }
        } else {
            was_loading = true;
        }
        if !record.process.as_ref().is_some_and(process::is_alive) {
            return Err(Trouble::Ended);
        }
        if let Reported::Loading(percent) = reported
            && last != Some(percent)
        {
            last = Some(percent);
            progress(Progress {
                message: format!("{} is loading {}", record.id, record.spec.model),
                percent,
                bytes: None,
            });
        }
        sleep(INTERVAL).await;
    }
}

/// The token of its fleet, where the pool has one.
fn fleet_token(hive: &Hive, record: &WorkerRecord) -> std::result::Result<Option<Secret>, Trouble> {
    let Some(fleet) = &record.spec.fleet else {
        return Ok(None);
    };
    let link = block_in_place(|| links::load(&hive.home, fleet));
    let link = link.map_err(|error| Trouble::Failed(error.message))?;
    Ok(link.map(|link| link.token))
}

/// Starts a worker that ended again, on the next port, where somebody else took its port between the
/// look and its own bind. False where that is not why it ended.
fn move_on(hive: &Hive, record: &mut WorkerRecord) -> Result<bool> {
    let home = hive.home.lock()?;
    // Another call for the same worker may have been first, and have cleared this one's record.
    let current = match begin::look(&home, &record.spec)?.live {
        Some(current) => current,
        None => still_wanted(&home, record)?,
    };
    let is_restarted = current.process != record.process;
    *record = current;
    if is_restarted {
        return Ok(true);
    }
    if !lost_its_port(record) {
        return Ok(false);
    }
    let next = record.listen.port().saturating_add(1);
    let listen = ports::first_free(&home, record.listen.ip(), next)?;
    record.started_at = Timestamp::now();
    start::start(hive, &home, record, listen)?;
    Ok(true)
}

/// Whether the worker said that its address is in use. A look at the port would tell nothing: who
/// took it may have left it again.
fn lost_its_port(record: &WorkerRecord) -> bool {
    let listen = record.listen.to_string();
    let says_so = |line: &str| line.contains(&listen) && line.contains("Address already in use");
    log::tail(record.log.as_ref(), 20).lines().any(says_so)
}

/// Writes down that the worker answered.
fn settle(hive: &Hive, record: &WorkerRecord, ready: &Ready) -> Result<WorkerRecord> {
    let home = hive.home.lock()?;
    let before = still_wanted(&home, record)?;
    let mut current = before.clone();
    current.state = WorkerState::Ready;
    current.memory = Some(ready.memory);
    // What nobody watched while it loaded has loaded nobody knows when.
    if current.load_ms.is_none() && ready.was_loading {
        let taken = Timestamp::now().duration_since(current.started_at);
        current.load_ms = u64::try_from(taken.as_millis()).ok();
    }
    if current != before {
        record::save(&home, &current)?;
    }
    Ok(current)
}

/// The record as it is now, unless somebody stops or stopped the worker meanwhile.
fn still_wanted(home: &Locked, record: &WorkerRecord) -> Result<WorkerRecord> {
    let current = record::load(home, &record.id)?;
    let is_wanted = |current: &WorkerRecord| {
        !matches!(current.state, WorkerState::Draining | WorkerState::Stopped)
    };
    current.filter(is_wanted).ok_or_else(|| {
        fail(
            ErrorCode::WorkerFailed,
            format!("the worker {} was stopped while it started", record.id),
            "spawn it again if it is still wanted",
        )
    })
}

/// Ends a worker that did not become ready and says why with the end of its log.
///
/// One that was ready before, and only does not answer now, is left to whoever owns it.
async fn give_up(
    hive: &Hive,
    record: &WorkerRecord,
    code: ErrorCode,
    reason: String,
) -> Result<HiveError> {
    if record.state == WorkerState::Starting {
        block_in_place(|| record::service_of(&hive.home, record).forget(&hive.home.lock()?))?;
        if let Some(process) = &record.process {
            services::end(process, Duration::from_secs(2)).await?;
        }
        block_in_place(|| {
            let home = hive.home.lock()?;
            let mut current = still_wanted(&home, record)?;
            // Another call may have started it again meanwhile: that process is not judged here.
            if current.process == record.process {
                current.state = WorkerState::Failed;
                current.failure = Some(reason.clone());
                record::save(&home, &current)?;
            }
            Ok(())
        })?;
    }
    let printed = log::tail(record.log.as_ref(), 20);
    let spec = &record.spec;
    let mut message = format!(
        "the worker {} ({} on {}) did not become ready: {reason}",
        record.id, spec.model, spec.device
    );
    message.push_str(&log::quoted(&printed));
    Ok(fail(
        code,
        message,
        format!("the whole log: rbee-hive worker logs {}", record.id),
    ))
}
