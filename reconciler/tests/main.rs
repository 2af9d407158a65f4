//! Tests of the crate from outside, one module a topic.

mod bad_fleets;
mod laws;
mod scenarios;
mod simulation;
