//! The inference thread and the door to it.
//!
//! One thread computes. In each step it takes one token of every answer that runs and some of the prompts that wait, each at its
//! own position, through the model together: one pass over the weights serves them all, and requests join and leave at any
//! step. Everything else (HTTP, health, cancelling) only touches the short lock of [`Engine`], which is never held while a
//! step runs.
//!
//! | module | holds |
//! |---|---|
//! | `run` | the loop of the thread |
//! | `job` | one request that runs |
//! | `slots` | keys and values of earlier requests, used again |
//! | `pace` | how much of the prompts fits a step |
//! | `sampler` | the choice of the next token |

mod job;
mod pace;
mod run;
mod sampler;
mod slots;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use pool_core::name::ModelId;
use pool_core::serving::{MemoryUse, Phase, StreamEvent};
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub use job::Job;
pub use sampler::{NoToken, Sampler};

use crate::metrics::Metrics;
use crate::model::{Model, ModelError};
use crate::text::Text;

/// How much an engine takes at once.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Requests that run at the same time.
    pub slots: u32,
    /// Requests that may wait for a slot.
    pub waiting: usize,
}

/// What the inference thread tells of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub event: StreamEvent,
    /// The model's tokens behind a piece of text, when their probabilities were asked for.
    pub tokens: Vec<TokenLogprob>,
}

impl From<StreamEvent> for Update {
    fn from(event: StreamEvent) -> Self {
        Self {
            event,
            tokens: Vec::new(),
        }
    }
}

/// A token of an answer and how likely it was: natural logarithms of probabilities, before temperature and filters.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenLogprob {
    pub id: u32,
    pub logprob: f32,
    /// The likeliest tokens at this place, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// How much an engine has to do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    pub running: u32,
    pub waiting: u32,
    /// Tokens that the slots hold for requests that run, and that they have room for.
    pub kv_tokens: u64,
    pub kv_capacity: u64,
    /// When a request that is refused now would find a place in the queue, as far as can be told.
    pub retry_after: Duration,
    /// A running request made no step in many times the time that steps take.
    pub stalled: bool,
}

/// Bytes of the thread's stack, taken as they are used: reading a chat template recurses as deep as it is nested.
const STACK: usize = 256 << 20;

/// How long a step may take that has to end with its worker.
const LAST_STEP: Duration = Duration::from_millis(500);

/// The door to the inference thread, which ends when the door is dropped.
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    model: ModelId,
    started: Instant,
    limits: Limits,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    /// Changed only while the state is locked.
    phase: watch::Sender<Phase>,
    /// Something in the state changed that the thread may wait for.
    changed: Condvar,
    /// Requests that wait or run.
    jobs: watch::Sender<usize>,
    /// How the model reads and writes, once it is loaded.
    text: OnceLock<(Arc<Text>, usize)>,
    percent: AtomicU8,
    busy: AtomicU32,
    memory: OnceLock<MemoryUse>,
    kv_tokens: AtomicU64,
    kv_capacity: AtomicU64,
    clock: Clock,
}

/// How long things take, in milliseconds; 0 is not known, or nothing.
#[derive(Default)]
struct Clock {
    /// When the step began that runs now, since `start`, and 1.
    step_began: AtomicU64,
    /// A step, and a request in its slot, on average.
    step: AtomicU64,
    request: AtomicU64,
    /// Microseconds of a step that decodes only; 0 before enough of them were measured.
    decode: AtomicU64,
}

struct State {
    /// End what is left; nothing more comes.
    ended: bool,
    waiting: VecDeque<Job>,
    /// The cancel flag of every request that waits or runs, by its id.
    cancelled: HashMap<String, Arc<AtomicBool>>,
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the model is still loading")]
    Loading,
    #[error("the worker is shutting down")]
    Draining,
    #[error("all slots are busy and the queue is full")]
    QueueFull,
    #[error("a request with this job_id is already here")]
    Duplicate,
}

impl Engine {
    /// Starts the thread, which loads the model first. The receiver hears how the thread ended: a model that
    /// cannot be loaded, or nothing wrong; it is cut when the thread panicked.
    pub fn start(
        model: ModelId,
        limits: Limits,
        metrics: Arc<Metrics>,
        load: impl FnOnce(&dyn Fn(u8)) -> Result<Model, ModelError> + Send + 'static,
    ) -> std::io::Result<(Self, oneshot::Receiver<Result<(), ModelError>>)> {
        let shared = Arc::new(Shared {
            model,
            limits,
            metrics,
            phase: watch::Sender::new(Phase::Loading),
            state: Mutex::new(State {
                ended: false,
                waiting: VecDeque::new(),
                cancelled: HashMap::new(),
            }),
            changed: Condvar::new(),
            jobs: watch::Sender::new(0),
            text: OnceLock::new(),
            percent: AtomicU8::new(0),
            busy: AtomicU32::new(0),
            memory: OnceLock::new(),
            kv_tokens: AtomicU64::new(0),
            kv_capacity: AtomicU64::new(0),
            clock: Clock::default(),
            started: Instant::now(),
        });
        let (tell, ended) = oneshot::channel();
        let engine = Self {
            shared: Arc::clone(&shared),
        };
        std::thread::Builder::new()
            .name("inference".to_owned())
            .stack_size(STACK)
            .spawn(move || {
                let _ = tell.send(run::run(&shared, load));
            })?;
        Ok((engine, ended))
    }

    /// Takes a request, or says why not.
    pub fn submit(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.shared.lock();
        match self.phase() {
            Phase::Loading => return Err(Refused::Loading),
            Phase::Draining => return Err(Refused::Draining),
            Phase::Ready => {}
        }
        if state.cancelled.contains_key(&job.id) {
            return Err(Refused::Duplicate);
        }
        self.shared.drop_abandoned(&mut state);
        let free = self.shared.limits.slots.saturating_sub(self.busy()) as usize;
        if state.waiting.len() >= self.shared.limits.waiting + free {
            return Err(Refused::QueueFull);
        }
        state
            .cancelled
            .insert(job.id.clone(), Arc::clone(&job.cancelled));
        state.waiting.push_back(job);
        self.shared.count_jobs(&state);
        self.shared.changed.notify_one();
        Ok(())
    }

    pub fn load(&self) -> Load {
        let shared = &self.shared;
        Load {
            running: self.busy(),
            waiting: shared.lock().waiting.len() as u32,
            kv_tokens: shared.kv_tokens.load(Ordering::Relaxed),
            kv_capacity: shared.kv_capacity.load(Ordering::Relaxed),
            retry_after: shared.clock.until_free(shared.limits.slots),
            stalled: shared.clock.is_stalled(shared.now()),
        }
    }

    /// Ends a request before its next step. Unknown ids are no error.
    pub fn cancel(&self, job_id: &str) {
        if let Some(cancelled) = self.shared.lock().cancelled.get(job_id) {
            cancelled.store(true, Ordering::Relaxed);
            self.shared.changed.notify_one();
        }
    }

    /// Refuses all that is new, waits until nothing runs or the deadline passed, then ends what is left.
    pub async fn drain(&self, deadline: Duration) {
        {
            let _state = self.shared.lock();
            self.shared.phase.send_replace(Phase::Draining);
        }
        let mut jobs = self.shared.jobs.subscribe();
        let _ = timeout(deadline, jobs.wait_for(|&jobs| jobs == 0)).await;
        self.end();
        // The thread sees it after the step that it is in.
        let _ = timeout(LAST_STEP, jobs.wait_for(|&jobs| jobs == 0)).await;
    }

    fn end(&self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_one();
    }

    /// How the model reads and writes, and its context in tokens; none while it loads.
    pub fn text(&self) -> Option<(Arc<Text>, usize)> {
        self.shared.text.get().cloned()
    }

    pub fn phase(&self) -> Phase {
        *self.shared.phase.borrow()
    }

    /// The phase and its changes.
    pub fn phases(&self) -> watch::Receiver<Phase> {
        self.shared.phase.subscribe()
    }

    /// How much of the model is loaded, 0–100.
    pub fn percent(&self) -> u8 {
        self.shared.percent.load(Ordering::Relaxed)
    }

    /// Requests that run.
    pub fn busy(&self) -> u32 {
        self.shared.busy.load(Ordering::Relaxed)
    }

    /// Microseconds that one token of one request took lately; none before 16 were measured.
    pub fn us_per_token(&self) -> Option<u64> {
        let us = self.shared.clock.decode.load(Ordering::Relaxed);
        (us > 0).then_some(us)
    }

    pub fn memory(&self) -> MemoryUse {
        self.shared.memory()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.end();
    }
}

impl Clock {
    /// A step that takes this many times longer than others, and longer than this, is not coming back soon.
    const STALLED: u64 = 20;
    const STALLED_AT_LEAST: u64 = 10_000;

    fn is_stalled(&self, now: u64) -> bool {
        let usual = self.step.load(Ordering::Relaxed);
        let most = Self::STALLED_AT_LEAST.max(Self::STALLED * usual);
        match self.step_began.load(Ordering::Relaxed) {
            0 => false,
            began => now.saturating_sub(began) > most,
        }
    }

    /// A slot is free after this long, on average.
    fn until_free(&self, slots: u32) -> Duration {
        let request = self.request.load(Ordering::Relaxed);
        Duration::from_millis(request / u64::from(slots.max(1))).max(Duration::from_secs(1))
    }
}

impl Shared {
    /// The lock is only held for moves of a few words, so a panic cannot leave the state half changed.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing while the model loads.
    fn memory(&self) -> MemoryUse {
        self.memory.get().copied().unwrap_or(MemoryUse {
            weights: 0,
            kv: 0,
            total: 0,
        })
    }

    /// Milliseconds since the start, and 1.
    fn now(&self) -> u64 {
        self.started.elapsed().as_millis() as u64 + 1
    }

    fn count_jobs(&self, state: &State) {
        self.jobs.send_replace(state.cancelled.len());
    }

    /// Forgets requests that wait although nobody waits for them, so that they do not fill the queue.
    fn drop_abandoned(&self, state: &mut State) {
        let waiting = std::mem::take(&mut state.waiting);
        for job in waiting {
            if job.is_abandoned() {
                state.cancelled.remove(&job.id);
                job.end_unstarted(&self.metrics);
            } else {
                state.waiting.push_back(job);
            }
        }
        self.count_jobs(state);
    }
}
