//! The worker processes of a pool: their records, their start, their end.

mod begin;
mod detach;
mod log;
mod owner;
mod ports;
mod ready;
mod record;
mod spawn;
mod start;
mod stop;
mod supervise;

pub use detach::become_worker;
pub use log::Follow;
pub use owner::{adopt, protect};
pub use ready::{client, probe};
pub use record::{all, find, process_of, users};
pub use spawn::{SpawnOptions, spawn};
pub use stop::{StopOptions, stop};

use crate::home::Locked;
use crate::{Hive, builds};

/// Removes old logs and builds. What cannot be removed now waits for the next time.
fn tidy(hive: &Hive, home: &Locked) {
    let _ = log::prune(home);
    let _ = builds::prune(hive, home);
}
