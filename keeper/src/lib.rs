//! The operator's side of rbee: asks pools, decides with [`reconciler`], carries out, reports.
//!
//! # Layout
//!
//! | module | does |
//! |---|---|
//! | [`cli`], [`commands`] | the command line and one module a command |
//! | [`complete`] | what a shell offers at the press of Tab |
//! | [`fleet_file`], [`lock_file`] | find, read and write fleet.yaml and fleet.lock |
//! | [`hub`] | looks models up on the hub |
//! | [`pools`] | opens and observes all pools at once |
//! | [`lease`] | keeps everybody else from applying to them meanwhile |
//! | [`saved`] | plans in files |
//! | [`apply`], [`actions`], [`fetch`] | carry out a plan, action by action |
//! | [`stream`] | asks a worker and reads its answer |
//! | [`report`], [`progress`], [`terminal`] | what people and programs see |
//! | [`failure`], [`exit`], [`interrupt`] | how a run ends |
//! | [`transport`] | ssh, child processes, and the hive's protocol on them |
//!
//! A pool that does not answer is unknown, never empty. Nothing here is kept on the operator's machine
//! between runs: what a pool runs is recorded on the pool.

pub mod actions;
pub mod allowance;
pub mod apply;
pub mod cli;
pub mod commands;
pub mod complete;
pub mod exit;
pub mod failure;
pub mod fetch;
pub mod fleet_file;
pub mod hub;
pub mod interrupt;
pub mod lease;
pub mod lock_file;
pub mod pools;
pub mod progress;
pub mod report;
pub mod saved;
pub mod stream;
pub mod terminal;
pub mod transport;
