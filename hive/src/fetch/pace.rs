//! How far a fetch is, and how fast it was.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use pool_core::rpc::{Moved, Progress};

/// How often it is said.
pub const EVERY: Duration = Duration::from_millis(200);

/// Less than this tells nothing of a rate.
const LEAST: u64 = 1_000_000;

/// What all streams of a fetch have done together.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    total: u64,
    files: usize,
    /// Bytes that are here now.
    here: AtomicU64,
    whole: AtomicUsize,
    /// Files that somebody else brings.
    elsewhere: AtomicUsize,
    /// Streams that wait to try again.
    pausing: AtomicUsize,
    hub: AtomicU64,
    pools: AtomicU64,
}

impl Pace {
    /// Of a fetch of so many files and bytes, of which some are here already.
    pub fn new(files: usize, total: u64, before: u64) -> Self {
        Self {
            begun: Instant::now(),
            total,
            files,
            here: AtomicU64::new(before),
            whole: AtomicUsize::new(0),
            elsewhere: AtomicUsize::new(0),
            pausing: AtomicUsize::new(0),
            hub: AtomicU64::new(0),
            pools: AtomicU64::new(0),
        }
    }

    pub fn came(&self, bytes: u64, from_hub: bool) {
        self.here.fetch_add(bytes, Ordering::Relaxed);
        let kind = if from_hub { &self.hub } else { &self.pools };
        kind.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that came by somebody else.
    pub fn found(&self, bytes: u64) {
        self.here.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Somebody else brings a file, or no longer does.
    pub fn waits(&self, begins: bool) {
        count(&self.elsewhere, begins);
    }

    /// A stream waits to try again, or no longer does.
    pub fn pauses(&self, begins: bool) {
        count(&self.pausing, begins);
    }

    /// Bytes were wrong and are thrown away.
    pub fn lost(&self, bytes: u64) {
        self.here.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn file_is_whole(&self) {
        self.whole.fetch_add(1, Ordering::Relaxed);
    }

    /// Bytes that came from the hub, and from pools.
    pub fn sources(&self) -> (u64, u64) {
        (
            self.hub.load(Ordering::Relaxed),
            self.pools.load(Ordering::Relaxed),
        )
    }

    /// Bytes a second of the hub, and of pools, where enough came and all of it from one kind.
    pub fn rates(&self) -> (Option<u64>, Option<u64>) {
        let seconds = self.begun.elapsed().as_secs_f64();
        let rate = |bytes: u64| (bytes >= LEAST).then(|| (bytes as f64 / seconds) as u64);
        match self.sources() {
            (hub, 0) => (rate(hub), None),
            (0, pools) => (None, rate(pools)),
            _ => (None, None),
        }
    }

    pub fn progress(&self) -> Progress {
        let done = self.here.load(Ordering::Relaxed).min(self.total);
        let whole = self.whole.load(Ordering::Relaxed);
        let percent = (self.total > 0).then(|| (done * 100 / self.total) as u8);
        let mut waits = match self.elsewhere.load(Ordering::Relaxed) {
            0 => String::new(),
            count => format!(", {count} by another run"),
        };
        if self.pausing.load(Ordering::Relaxed) > 0 {
            waits += ", trying again";
        }
        Progress {
            message: format!("{whole} of {} files{waits}", self.files),
            percent,
            bytes: Some(Moved {
                done,
                total: self.total,
            }),
        }
    }
}

fn count(those: &AtomicUsize, begins: bool) {
    if begins {
        those.fetch_add(1, Ordering::Relaxed);
    } else {
        those.fetch_sub(1, Ordering::Relaxed);
    }
}
