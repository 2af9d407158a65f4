//! The words that every part of rbee shares.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`name`], [`device`], [`address`], [`digest`], [`path`] | names that cannot be wrong |
//! | [`source`], [`model`] | where a model comes from, what it is made of, the catalog of a pool |
//! | [`supply`] | where the content of its files comes from |
//! | [`build`] | the programs that a pool needs |
//! | [`check`] | whether an orchestrator could use a file |
//! | [`facts`] | what an action of a plan relied on |
//! | [`fit`] | what memory a worker takes |
//! | [`folder`] | whether a model's folder can be whole |
//! | [`gguf`] | the head of a GGUF file |
//! | [`worker`] | what a worker should be ([`worker::WorkerSpec`]) and what one is ([`worker::WorkerRecord`]) |
//! | [`launch`] | the command line of `llm-worker-rbee`, written by the hive and read by the worker |
//! | [`machine`] | what the texts of Linux say of a machine's memory and of a process |
//! | [`observation`] | what a pool says of itself |
//! | [`orchestrator`], [`registration`] | what an orchestrator should be and is, and how workers find it |
//! | [`rpc`] | the protocol between `rbee` and `rbee-hive` |
//! | [`serving`] | the HTTP contract of the worker |
//! | [`weights`] | how a worker keeps the weights of its model |
//! | [`units`] | bytes and counts for people |
//!
//! Nothing here reads a clock or a socket, no file but the folders of models and the token of the hub, and no program is run but
//! the one that [`check`] asks: the crate holds values, their checks and their text forms, so both sides of every contract are
//! written once.

use std::ops::RangeInclusive;

pub mod address;
pub mod build;
pub mod check;
pub mod device;
pub mod digest;
pub mod facts;
pub mod fit;
pub mod folder;
pub mod gguf;
pub mod launch;
pub mod machine;
pub mod model;
pub mod name;
pub mod observation;
pub mod orchestrator;
pub mod path;
pub mod registration;
pub mod rpc;
pub mod serving;
pub mod source;
pub mod supply;
pub mod units;
pub mod weights;
pub mod worker;

/// Version of this build with its git revision, for `--version`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("RBEE_REVISION"), ")");

/// How many requests a worker may serve at the same time.
pub const SLOTS: RangeInclusive<u32> = 1..=1024;

/// How many it serves where nobody says.
pub const DEFAULT_SLOTS: u32 = 1;

/// First port a worker may listen on; the next free one is taken.
pub const FIRST_WORKER_PORT: u16 = 8001;

/// Port of the orchestrator; no worker listens there.
pub const ORCHESTRATOR_PORT: u16 = 8080;
