//! What all requests of a worker share.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pool_core::serving::ErrorCode;
use tokio::sync::{Notify, Semaphore};

use crate::faults::Faults;
use crate::job::Job;
use crate::seen::{Outcome, Seen};
use crate::settings::Settings;

pub(crate) struct Shared {
    pub settings: Settings,
    pub address: SocketAddr,
    pub started: Instant,
    pub started_at: Timestamp,
    pub slots: Arc<Semaphore>,
    /// A connection was closed for all others to be: see [`Faults::refuse_ms`].
    pub refuse: Notify,
    refuse_for: Mutex<Option<Duration>>,
    is_draining: AtomicBool,
    /// Draining began, or a job ended.
    pub changed: Notify,
    faults: Mutex<Faults>,
    /// Jobs that wait, run or hang, by their ids.
    live: Mutex<HashMap<String, Arc<Job>>>,
    jobs: Mutex<Vec<Arc<Job>>>,
    requests: Mutex<BTreeMap<String, u64>>,
    numbers: AtomicU64,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(settings: Settings, address: SocketAddr) -> Self {
        Self {
            address,
            started: Instant::now(),
            started_at: Timestamp::now(),
            slots: Arc::new(Semaphore::new(settings.slots as usize)),
            refuse: Notify::new(),
            refuse_for: Mutex::new(None),
            is_draining: AtomicBool::new(false),
            changed: Notify::new(),
            faults: Mutex::default(),
            live: Mutex::default(),
            jobs: Mutex::default(),
            requests: Mutex::default(),
            numbers: AtomicU64::new(0),
            settings,
        }
    }

    /// A number that nothing else has.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    pub fn faults(&self) -> MutexGuard<'_, Faults> {
        lock(&self.faults)
    }

    /// All connections end, and for this time others are refused.
    pub fn refuse_for(&self, time: Duration) {
        *lock(&self.refuse_for) = Some(time);
        self.refuse.notify_one();
    }

    pub fn take_refusal(&self) -> Duration {
        lock(&self.refuse_for).take().unwrap_or_default()
    }

    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Acquire)
    }

    /// Jobs that are not over.
    pub fn live(&self) -> usize {
        lock(&self.live).len()
    }

    pub fn busy(&self) -> u32 {
        (self.settings.slots as usize - self.slots.available_permits()) as u32
    }

    pub fn cancel(&self, id: &str) {
        if let Some(job) = lock(&self.live).get(id) {
            job.cancel();
        }
    }

    pub fn count(&self, request: String) {
        *lock(&self.requests).entry(request).or_default() += 1;
    }

    pub fn seen(&self) -> Seen {
        Seen {
            jobs: lock(&self.jobs).iter().map(|job| job.seen()).collect(),
            requests: lock(&self.requests).clone(),
        }
    }

    pub fn forget(&self) {
        lock(&self.jobs).clear();
        lock(&self.requests).clear();
    }

    /// Notes a job that gets no slot.
    pub fn refuse(&self, job: Arc<Job>) {
        job.end(Outcome::Refused);
        lock(&self.jobs).push(job);
    }

    /// Lets a job wait for a slot, or says why not.
    pub fn admit(self: &Arc<Self>, job: Arc<Job>) -> Result<Turn, ErrorCode> {
        let mut live = lock(&self.live);
        let most = self.settings.slots as usize + self.settings.waiting;
        let code = if self.is_draining() {
            ErrorCode::Draining
        } else if live.len() >= most {
            ErrorCode::QueueFull
        } else if live.contains_key(&job.id) {
            ErrorCode::Conflict
        } else {
            live.insert(job.id.clone(), Arc::clone(&job));
            lock(&self.jobs).push(Arc::clone(&job));
            let shared = Arc::clone(self);
            return Ok(Turn { job, shared });
        };
        drop(live);
        self.refuse(job);
        Err(code)
    }
}

/// A job that is not over, until dropped: whoever drops it before its end has lost the client.
pub(crate) struct Turn {
    pub job: Arc<Job>,
    pub shared: Arc<Shared>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.job.end(Outcome::Disconnected);
        lock(&self.shared.live).remove(&self.job.id);
        self.shared.changed.notify_waiters();
    }
}
