//! Decides: what a fleet.yaml asks for, how reality differs, and what to do about it.
//!
//! ```text
//! fleet.yaml ─parse→ Fleet ─resolve→ Desired ─┐
//!                                             ├─diff→ Drift ─plan→ Plan
//! pools ──────────observe───────→ Observed ───┘
//! ```
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`fleet`], [`problem`] | fleet.yaml, and what is wrong with one |
//! | [`lock`] | fleet.lock: what each model of the hub was when it was looked up |
//! | [`resolve`], [`desired`] | what should be, fully explicit |
//! | [`observed`] | what is, or why that is not known |
//! | [`diff`], [`reason`] | what differs, and why |
//! | [`planner`], [`suppliers`], [`plan`] | ordered actions |
//! | [`sound`], [`stale`] | whether a saved plan was edited, and what of it no longer holds |
//! | [`targets`], [`glob`] | what of a fleet is asked for, by patterns over names |
//!
//! The crate is pure: it reads no clock, no file and no socket and writes no log. [`diff::diff`] and
//! [`planner::plan`] are total: what cannot be done is part of their result. A reason is carried
//! for reports and never decides anything.

pub mod desired;
pub mod diff;
pub mod fleet;
pub mod glob;
pub mod lock;
pub mod observed;
pub mod plan;
pub mod planner;
pub mod problem;
pub mod reason;
pub mod resolve;
pub mod sound;
pub mod stale;
pub mod suppliers;
pub mod targets;
