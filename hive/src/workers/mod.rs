//! The worker processes of a pool: their records, their start, their end.

mod begin;
mod owner;
mod ports;
mod ready;
mod record;
mod spawn;
mod start;
mod stop;

pub use owner::{adopt, protect};
pub use ports::is_free;
pub use ready::{client, probe};
pub use record::{all, find, process_of, users};
pub use spawn::{SpawnOptions, spawn};
pub use stop::{StopOptions, stop};
