//! The worker against real models: the tiny one of `examples/`, and what can be made of its files.

// Helpers outside of test functions fail tests too.
#![allow(clippy::unwrap_used)]

mod answers;
mod batches;
mod contract;
mod families;
mod goldens;
mod networks;
mod oracle;
mod shutdown;
mod startup;
mod streams;
mod support;
