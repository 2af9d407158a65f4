//! The hive as it is used: real processes, the real worker, a real model.

#![allow(clippy::unwrap_used)]

mod cli;
mod devices;
mod expect;
mod faults;
mod gate;
mod git;
mod home;
mod hub;
mod identity;
mod lease;
mod life;
mod models;
mod orchestrator;
mod owner;
mod rpc;
mod supervise;
mod util;
