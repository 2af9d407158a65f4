//! The memory of one device in the course of a plan.

use pool_core::address::WorkerAddress;
use pool_core::name::WorkerId;

use crate::plan::ActionId;

/// What is free there, and what stops of the plan free. Each byte is taken once, by a worker that needs the stop which
/// frees it: in whatever order the plan is carried out, no more is taken than there is.
#[derive(Debug, Clone)]
pub(super) struct Room {
    free: u64,
    freed: Vec<Freed>,
}

/// What a stop frees.
#[derive(Debug, Clone)]
pub(super) struct Freed {
    pub stop: ActionId,
    pub worker: (WorkerId, Option<WorkerAddress>),
    pub bytes: u64,
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
    pub fn stopped(&self) -> impl Iterator<Item = &(WorkerId, Option<WorkerAddress>)> {
        let left = self.freed.iter().filter(|freed| freed.bytes > 0);
        left.map(|freed| &freed.worker)
    }

    /// Adds what a stop frees.
    pub fn give(&mut self, freed: Freed) {
        self.freed.push(freed);
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
