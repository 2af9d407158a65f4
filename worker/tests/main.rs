//! The worker against real models: the tiny one of `examples/`, and what can be made of its files.

// Helpers outside of test functions fail tests too.
#![allow(clippy::unwrap_used)]

mod answers;
mod batches;
#[path = "../../examples/collector.rs"]
mod collector;
mod contract;
mod cuda;
mod families;
mod fit;
mod goldens;
mod hardening;
mod networks;
mod openai;
mod oracle;
mod python;
mod registers;
mod shutdown;
mod startup;
mod streams;
mod support;
mod tokens;
mod traces;
