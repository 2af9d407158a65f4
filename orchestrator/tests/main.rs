//! The tests of `orchestratord`: the real binary, between real clients and workers that fail on request.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cancel;
#[path = "../../examples/collector.rs"]
mod collector;
mod dashboard;
mod disk;
mod faults;
mod keys;
mod openai;
mod openapi;
#[path = "../../examples/packages.rs"]
mod packages;
mod restart;
mod sim;
mod support;
mod tasks;
mod traces;
mod workers;
