//! A persistent group of threads that runs one job at a time.

use std::any::Any;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long an idle thread keeps looking for work before it sleeps: longer than the gaps inside a token, shorter than
/// anybody would notice on an idle machine.
const SPIN: Duration = Duration::from_micros(200);
/// Rounds of spinning between two looks at the clock.
const ROUNDS: u32 = 64;

/// A group of threads; the one that calls [`Threads::run`] is its first.
pub struct Threads {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
    /// Held while a job runs.
    busy: Mutex<()>,
}

type Job = &'static (dyn Fn(usize) + Sync);

struct Shared {
    /// Counts jobs; a change tells the helpers that `job` holds another one.
    epoch: AtomicUsize,
    job: UnsafeCell<Option<Job>>,
    /// Helpers that have not yet finished the job.
    working: AtomicUsize,
    asleep: Vec<AtomicBool>,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `job` is written only by the thread that holds `busy`, while no helper works; helpers read it after they
// see the new epoch (release/acquire), and the writer waits for `working` to be 0 before it goes on.
unsafe impl Sync for Shared {}
// SAFETY: as above; the job is never called after the call that lent it has returned.
unsafe impl Send for Shared {}

impl Threads {
    /// A group of `count` threads, at least 1, with the caller's among them.
    ///
    /// # Errors
    /// When the system refuses to start one.
    pub fn new(count: usize) -> std::io::Result<Self> {
        let count = count.max(1);
        let shared = Arc::new(Shared {
            epoch: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            working: AtomicUsize::new(0),
            asleep: (0..count).map(|_| AtomicBool::new(false)).collect(),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let mut threads = Self {
            shared,
            helpers: Vec::with_capacity(count - 1),
            busy: Mutex::new(()),
        };
        for index in 1..count {
            let shared = Arc::clone(&threads.shared);
            threads.helpers.push(
                std::thread::Builder::new()
                    .name(format!("compute-{index}"))
                    .spawn(move || shared.help(index))?,
            );
        }
        Ok(threads)
    }

    /// How many threads.
    pub fn count(&self) -> usize {
        self.helpers.len() + 1
    }

    /// Calls `job(index)` once for each index below [`Threads::count`], each on its own thread, and returns when all
    /// have returned.
    ///
    /// If the group is busy, as when a job itself calls this, the calls are made one after the other on this thread.
    ///
    /// # Panics
    /// With what a job panicked with, after all have ended.
    pub fn run(&self, job: impl Fn(usize) + Sync) {
        let guard = match self.busy.try_lock() {
            Ok(guard) if !self.helpers.is_empty() => Some(guard),
            // A panic of an earlier job has left nothing half done here.
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            _ => None,
        };
        if guard.is_none() {
            (0..self.count()).for_each(job);
            return;
        }
        let job: &(dyn Fn(usize) + Sync) = &job;
        let shared = &*self.shared;
        // SAFETY: the lifetime is forgotten, but this call does not return, nor unwind, before `working` is 0, and
        // no helper touches the job after it has counted itself out.
        let erased = unsafe {
            std::mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(job)
        };
        // SAFETY: `busy` is held and no helper works, so nobody else looks at the cell.
        unsafe { *shared.job.get() = Some(erased) };
        shared.working.store(self.helpers.len(), Ordering::Relaxed);
        // Sequentially consistent with the helper's flag below: either it sees the job or we see it asleep.
        shared.epoch.fetch_add(1, Ordering::SeqCst);
        for (asleep, helper) in shared.asleep[1..].iter().zip(&self.helpers) {
            if asleep.swap(false, Ordering::SeqCst) {
                helper.thread().unpark();
            }
        }
        let mine = catch_unwind(AssertUnwindSafe(|| job(0)));
        let mut rounds = 0_u32;
        while shared.working.load(Ordering::Acquire) != 0 {
            rounds = rounds.saturating_add(1);
            if rounds < 20_000 {
                std::hint::spin_loop();
            } else {
                // The helper may be waiting for this very core.
                std::thread::yield_now();
            }
        }
        let theirs = shared
            .panic
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(guard);
        if let Some(panic) = mine.err().or(theirs) {
            resume_unwind(panic);
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.epoch.fetch_add(1, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // A helper catches the panics of jobs, so it ends in order.
            let _ = helper.join();
        }
    }
}

impl Shared {
    fn help(&self, index: usize) {
        let mut seen = 0;
        loop {
            seen = self.next(index, seen);
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // SAFETY: the epoch was seen to change, so the job was written before and its lender waits for us.
            let job = unsafe { *self.job.get() };
            if let Some(job) = job
                && let Err(panic) = catch_unwind(AssertUnwindSafe(|| job(index)))
            {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            self.working.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an epoch other than `seen`: looks for a while, then sleeps.
    fn next(&self, index: usize, seen: usize) -> usize {
        loop {
            let start = Instant::now();
            while start.elapsed() < SPIN {
                for _ in 0..ROUNDS {
                    let epoch = self.epoch.load(Ordering::Acquire);
                    if epoch != seen {
                        return epoch;
                    }
                    std::hint::spin_loop();
                }
            }
            // A waking call may come late, for a job already seen, so the flag is raised again before each sleep.
            loop {
                self.asleep[index].store(true, Ordering::SeqCst);
                if self.epoch.load(Ordering::SeqCst) != seen {
                    break;
                }
                std::thread::park();
            }
            self.asleep[index].store(false, Ordering::SeqCst);
        }
    }
}
