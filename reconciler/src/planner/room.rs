//! The memory of one device in the course of a plan.

use crate::plan::ActionId;

/// What is free there, and what stops of the plan free. Each byte is taken once, by a worker that needs the stop which
/// frees it: in whatever order the plan is carried out, no more is taken than there is.
#[derive(Debug, Clone)]
pub(super) struct Room {
    free: u64,
    freed: Vec<Freed>,
}

#[derive(Debug, Clone)]
struct Freed {
    stop: ActionId,
    worker: String,
    bytes: u64,
}

impl Room {
    pub fn new(free: u64) -> Self {
        Self {
            free,
            freed: Vec::new(),
        }
    }

    /// Bytes that nobody has taken.
    pub fn left(&self) -> u64 {
        let freed = self.freed.iter().map(|freed| freed.bytes);
        freed.fold(self.free, u64::saturating_add)
    }

    /// The workers whose memory is part of that.
    pub fn stopped(&self) -> Vec<String> {
        let left = self.freed.iter().filter(|freed| freed.bytes > 0);
        left.map(|freed| freed.worker.clone()).collect()
    }

    /// Adds what a stop frees.
    pub fn give(&mut self, stop: ActionId, worker: String, bytes: u64) {
        self.freed.push(Freed {
            stop,
            worker,
            bytes,
        });
    }

    /// Takes as much, which must be left. Returns the stops that free it, if any must.
    pub fn take(&mut self, bytes: u64) -> Vec<ActionId> {
        let now = bytes.min(self.free);
        self.free -= now;
        let mut missing = bytes - now;
        let mut stops = Vec::new();
        for freed in &mut self.freed {
            let part = missing.min(freed.bytes);
            if part > 0 {
                freed.bytes -= part;
                missing -= part;
                stops.push(freed.stop);
            }
        }
        stops
    }
}
