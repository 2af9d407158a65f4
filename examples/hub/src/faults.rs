//! Faults that tests switch on and off while the hub runs.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::repos::lock;

/// What goes wrong.
///
/// A status or a loop takes the place of the answer. The others spoil its body, all at once if there are several; a HEAD
/// request has none and does not use them up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends after this many bytes of the body.
    Cut(u64),
    /// After this many bytes of the body nothing more comes, and the connection stays.
    Stall(u64),
    /// No more bytes a second than this.
    Slow(u64),
    /// The byte in the middle of the body is inverted.
    Flip,
    /// `Content-Length` says that many bytes more, or fewer, than there are; never more than the length says are sent.
    Length(i64),
    /// The `Range` header is ignored.
    Whole,
    /// This status, and with it `Retry-After` in seconds.
    Status {
        status: u16,
        retry_after: Option<u64>,
    },
    /// A redirect to itself.
    Loop,
}

impl Fault {
    /// This status, without a word about when to come again.
    pub const fn status(status: u16) -> Self {
        Self::Status {
            status,
            retry_after: None,
        }
    }

    /// Whether it takes the place of the answer.
    fn is_answer(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Loop)
    }
}

/// Where requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// `/api/…`
    Api,
    /// `/{org}/{repo}/resolve/…`, and whatever else is asked of the hub.
    Resolve,
    /// The blob host.
    Blobs,
}

/// How long a fault is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Times {
    /// For so many requests that it can be had with.
    Next(u32),
    /// From now on for so long.
    For(Duration),
    Always,
}

/// Names a fault that was switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

/// The faults of a hub.
#[derive(Debug, Default)]
pub struct Faults {
    active: Mutex<Vec<Active>>,
    ids: AtomicU64,
}

#[derive(Debug)]
struct Active {
    id: FaultId,
    place: Place,
    fault: Fault,
    left: Option<u32>,
    until: Option<Instant>,
}

impl Faults {
    /// Switches a fault on.
    pub fn add(&self, place: Place, fault: Fault, times: Times) -> FaultId {
        let id = FaultId(self.ids.fetch_add(1, Ordering::Relaxed));
        let (left, until) = match times {
            Times::Next(count) => (Some(count), None),
            Times::For(time) => (None, Instant::now().checked_add(time)),
            Times::Always => (None, None),
        };
        lock(&self.active).push(Active {
            id,
            place,
            fault,
            left,
            until,
        });
        id
    }

    /// Switches a fault off; one that is off already is no error.
    pub fn remove(&self, id: FaultId) {
        lock(&self.active).retain(|active| active.id != id);
    }

    /// Switches all off.
    pub fn clear(&self) {
        lock(&self.active).clear();
    }

    /// Those of the next request: one that takes the place of the answer, or all that spoil it.
    pub(crate) fn take(&self, place: Place, is_head: bool) -> Vec<Fault> {
        let mut active = lock(&self.active);
        let now = Instant::now();
        active.retain(|a| a.left != Some(0) && a.until.is_none_or(|until| now < until));
        let mut here: Vec<_> = active.iter_mut().filter(|a| a.place == place).collect();
        if let Some(answer) = here.iter().position(|a| a.fault.is_answer()) {
            here = vec![here.swap_remove(answer)];
        } else if is_head {
            return Vec::new();
        }
        let take = |active: &mut Active| {
            active.left = active.left.map(|left| left - 1);
            active.fault
        };
        here.into_iter().map(take).collect()
    }
}
