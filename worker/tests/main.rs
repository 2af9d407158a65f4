//! The worker against real models: the tiny one of `examples/`, and what can be made of its files.

mod answers;
mod contract;
mod goldens;
mod shutdown;
mod startup;
mod streams;
mod support;
