//! `orchestratord`: admits, queues and routes requests to the workers of a fleet.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`core`] | what is decided: a state machine without clock, threads and files |
//! | [`store`] | tasks, their events and usage, on disk or in memory |
//! | [`tenants`], [`policy`], [`reload`] | who may use the fleet, an operator's own rules, files that are read again |
//! | [`sim`] | the core on a virtual clock, with faults |
//! | [`daemon`] | the clock, the connections to workers, whoever waits for an answer |
//! | [`http`] | what is asked and answered |
//! | [`metrics`] | what is counted |
//! | [`args`] | the command line |
//!
//! # The way of a task
//!
//! A request is checked, counted and submitted to the core, which admits or refuses it. The core names the worker whose turn it
//! is; the daemon asks that worker and passes its stream on. A task of `/v2` is stored before it is acknowledged, and each event
//! before it is shown; a request of `/v1` lives as long as its connection.

pub mod args;
pub mod check;
pub mod core;
pub mod daemon;
pub mod http;
pub mod metrics;
pub mod policy;
pub mod reload;
pub mod sim;
pub mod store;
pub mod tenants;
