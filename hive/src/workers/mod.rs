//! The worker processes of a pool: their records, their start, their end.

mod begin;
mod detach;
mod log;
mod ports;
mod ready;
mod record;
mod spawn;
mod start;
mod stop;
mod supervise;

pub use detach::become_worker;
pub use log::Follow;
pub use ready::{answers, client};
pub use record::{all, find, process_of, users};
pub use spawn::{SpawnOptions, spawn};
pub use stop::stop;
