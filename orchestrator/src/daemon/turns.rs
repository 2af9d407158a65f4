//! What a task hears of the core, and what it tells it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_front::{SpanKind, Trace};
use pool_core::serving::Failure;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Live, Orchestrator, State};
use crate::core::{
    Admitted, AttemptError, Cancelled, Dispatch, NewTask, Next, Now, Refused, TaskId, TenantId,
    Used, WorkerKey,
};
use crate::store::Usage;

/// What a task is told.
#[derive(Debug)]
pub enum Signal {
    /// Go to this worker.
    Run(Dispatch),
    /// The worker that has the task is gone.
    Lost,
    /// The task has ended, whatever is still on its way.
    Stop(Ended),
}

/// Why a task ended that did not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    Cancelled,
    Failed(Failure),
}

impl Ended {
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

/// What comes in place of what was waited for.
#[derive(Debug)]
pub enum Broken {
    /// The worker failed, is gone, or gives no sign.
    Failed(AttemptError),
    /// The task ended meanwhile.
    Stopped(Ended),
}

/// A task that has not ended, in the hands of whoever drives it. Dropped before its end, it is cancelled.
pub struct Turn {
    of: Arc<Orchestrator>,
    id: TaskId,
    attempt: u32,
    signals: UnboundedReceiver<Signal>,
    is_over: bool,
}

impl Orchestrator {
    /// Submits a task, and starts what can be started. The turn is that of the caller, before any other can begin.
    pub fn submit(self: &Arc<Self>, new: NewTask) -> Result<(Admitted, Turn), Refused> {
        let (id, tenant) = (new.id.clone(), new.tenant.clone());
        let began = std::time::Instant::now();
        let now = self.now();
        let mut state = self.state();
        let admitted = state.core.submit(now, new)?;
        if let Some(dropped) = &admitted.dropped {
            let failure = Failure {
                code: pool_core::serving::FailureCode::Cancelled,
                message: "the queue was full, and another task took its place".to_owned(),
                retriable: true,
            };
            self.end(&mut state, now, dropped, Ended::Failed(failure));
        }
        let turn = self.turn(&mut state, id, tenant);
        drop(state);
        self.metrics.admitted(began.elapsed());
        Ok((admitted, turn))
    }

    /// The turn of a task that the core has.
    pub(super) fn adopt(self: &Arc<Self>, id: TaskId, tenant: TenantId) -> Turn {
        let mut state = self.state();
        self.turn(&mut state, id, tenant)
    }

    fn turn(self: &Arc<Self>, state: &mut State, id: TaskId, tenant: TenantId) -> Turn {
        let (sender, signals) = unbounded_channel();
        let live = Live {
            tenant,
            signals: sender,
            worker: None,
            readers: 0,
            left: 0,
        };
        state.live.insert(id.clone(), live);
        Turn {
            of: Arc::clone(self),
            id,
            attempt: 0,
            signals,
            is_over: false,
        }
    }

    /// Starts what can be started.
    pub fn pump(&self) {
        let now = self.now();
        let mut state = self.state();
        self.dispatch(&mut state, now);
    }

    pub(super) fn dispatch(&self, state: &mut State, now: Now) {
        let began = std::time::Instant::now();
        for dispatch in state.core.dispatch(now) {
            self.metrics.dispatched(&dispatch, began.elapsed());
            if let Some(live) = state.live.get_mut(&dispatch.task) {
                live.worker = Some(dispatch.worker.clone());
                // Whoever drives it hears it, or has dropped its turn and is about to cancel.
                let _ = live.signals.send(Signal::Run(dispatch));
            }
        }
        let due = state.core.next_wakeup(now).unwrap_or(u64::MAX);
        if due < self.sleeps_until.load(Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Ends a task that nobody wants any more. True where there was one.
    pub fn cancel(&self, id: &TaskId) -> bool {
        let now = self.now();
        let mut state = self.state();
        let was = state.core.cancel(now, id);
        self.end(&mut state, now, id, Ended::Cancelled);
        if was != Cancelled::NotThere {
            self.dispatch(&mut state, now);
        }
        was != Cancelled::NotThere
    }

    /// Tells whoever drives a task that the core has ended it.
    pub(super) fn end(&self, state: &mut State, now: Now, id: &TaskId, ended: Ended) {
        if let Some(live) = self.leave(state, now, id, ended.as_str()) {
            let _ = live.signals.send(Signal::Stop(ended));
        }
    }

    /// Counts a task that has ended, and stores what its tenant used.
    fn leave(
        &self,
        state: &mut State,
        now: Now,
        id: &TaskId,
        outcome: &'static str,
    ) -> Option<Live> {
        let live = state.live.remove(id)?;
        self.metrics.ended(outcome);
        if let Some(worker) = &live.worker {
            self.metrics.attempted(worker, outcome);
        }
        self.charged(state, now, &live.tenant);
        Some(live)
    }

    /// Charges a tenant with what a task used that a restart ended.
    pub(super) fn charge(&self, tenant: &TenantId, used: u64) {
        let now = self.now();
        let mut state = self.state();
        state.core.charge(now, tenant, used);
        self.charged(&mut state, now, tenant);
    }

    /// Stores what a tenant used until now.
    pub(super) fn charged(&self, state: &mut State, now: Now, tenant: &TenantId) {
        if let Some(usage) = state.core.usage(now, tenant) {
            drop(self.store.put_usage(Usage {
                tenant: tenant.to_string(),
                unix_ms: usage.unix_ms,
                day: usage.day,
                minute: usage.minute,
            }));
        }
    }

    /// Somebody follows the events of a task, or no longer does. Returns what to compare later by [`Self::is_left_since`].
    pub fn follows(&self, id: &TaskId, follows: bool) -> Option<u64> {
        let mut state = self.state();
        let live = state.live.get_mut(id)?;
        if follows {
            live.readers += 1;
        } else {
            live.readers = live.readers.saturating_sub(1);
            live.left += u64::from(live.readers == 0);
        }
        Some(live.left)
    }

    /// Whether nobody has followed the events of a task since then.
    pub fn is_left_since(&self, id: &TaskId, left: u64) -> bool {
        let state = self.state();
        let live = state.live.get(id);
        live.is_some_and(|live| live.readers == 0 && live.left == left)
    }
}

impl State {
    /// Tells all tasks of a worker that it is gone.
    pub(super) fn lose(&self, worker: &WorkerKey) {
        let tasks = self.live.values();
        for task in tasks.filter(|task| task.worker.as_ref() == Some(worker)) {
            let _ = task.signals.send(Signal::Lost);
        }
    }
}

impl Turn {
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// Waits until a worker has its turn, or the task has ended.
    pub async fn dispatched(&mut self, trace: &Trace) -> Result<Dispatch, Ended> {
        let _waits = trace.child("queue", SpanKind::Internal, Vec::new);
        loop {
            match self.next().await {
                Signal::Run(dispatch) => return Ok(dispatch),
                Signal::Lost => {}
                Signal::Stop(ended) => return Err(ended),
            }
        }
    }

    /// What comes next. A turn that was cancelled says so for ever.
    pub async fn next(&mut self) -> Signal {
        let signal = self.signals.recv().await;
        self.heard(signal)
    }

    /// Waits for something of a worker, which has `stall` to give a sign, unless the task or the worker ends before.
    ///
    /// # Errors
    /// That of the worker, or what came before it.
    pub async fn unless_told<T>(
        &mut self,
        stall: Duration,
        what: impl Future<Output = Result<T, AttemptError>>,
    ) -> Result<T, Broken> {
        let silent = || {
            Broken::Failed(AttemptError::Stall {
                silent_ms: stall.as_millis() as u64,
            })
        };
        tokio::select! {
            biased;
            signal = self.next() => Err(match signal {
                Signal::Stop(ended) => Broken::Stopped(ended),
                Signal::Lost | Signal::Run(_) => silent(),
            }),
            what = what => what.map_err(Broken::Failed),
            () = tokio::time::sleep(stall) => Err(silent()),
        }
    }

    /// [`Self::next`], where something came already.
    pub fn poll(&mut self, context: &mut std::task::Context<'_>) -> std::task::Poll<Signal> {
        self.signals
            .poll_recv(context)
            .map(|signal| self.heard(signal))
    }

    fn heard(&mut self, signal: Option<Signal>) -> Signal {
        let signal = signal.unwrap_or(Signal::Stop(Ended::Cancelled));
        match &signal {
            Signal::Run(dispatch) => self.attempt = dispatch.attempt,
            Signal::Stop(_) => self.is_over = true,
            Signal::Lost => {}
        }
        signal
    }

    /// The worker began to compute.
    pub fn started(&self) {
        self.of.ask(|core, _| core.started(&self.id, self.attempt));
    }

    /// Before tokens are passed on; false: they may not be.
    pub fn passes_on(&self, tokens: u64) -> bool {
        self.of
            .ask(|core, _| core.passed_on(&self.id, self.attempt, tokens))
    }

    /// The answer is whole. False: the task ended otherwise.
    pub fn ended(&mut self, used: Used) -> bool {
        let now = self.of.now();
        let mut state = self.of.state();
        let is_ours = state.core.ended(now, &self.id, self.attempt, used);
        if is_ours {
            self.is_over = true;
            self.of.leave(&mut state, now, &self.id, "completed");
        }
        self.of.dispatch(&mut state, now);
        is_ours
    }

    /// The attempt gave no answer.
    pub fn failed(&mut self, error: AttemptError) -> Next {
        let now = self.of.now();
        tracing::info!(task = %self.id, attempt = self.attempt, %error, "attempt failed");
        let mut state = self.of.state();
        let next = state.core.failed(now, &self.id, self.attempt, error);
        match &next {
            Next::Failed(_) => {
                self.is_over = true;
                self.of.leave(&mut state, now, &self.id, "failed");
            }
            Next::Requeued => {
                let live = state.live.get_mut(&self.id);
                if let Some(worker) = live.and_then(|live| live.worker.take()) {
                    self.of.metrics.attempted(&worker, "failed");
                }
            }
            Next::Stale => {}
        }
        self.of.dispatch(&mut state, now);
        next
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_over {
            self.of.cancel(&self.id);
        }
    }
}
