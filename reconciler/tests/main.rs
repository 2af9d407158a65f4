//! Tests of the crate from outside, one module a topic.

#![allow(
    clippy::unwrap_used,
    reason = "clippy's exception for tests leaves out their helpers"
)]

mod bad_fleets;
mod fits;
mod laws;
mod orchestrators;
mod outages;
mod parts;
mod scenarios;
mod scenes;
mod simulation;
mod sound;
mod stale;
mod supplies;
