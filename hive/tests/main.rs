//! The hive as it is used: real processes, the real worker, a real model.

#![allow(clippy::unwrap_used)]

mod cli;
mod faults;
mod hub;
mod identity;
mod life;
mod models;
mod rpc;
mod supervise;
mod util;
