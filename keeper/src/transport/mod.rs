//! How the operator's machine talks to one pool.
//!
//! A [`Connection`] starts fixed POSIX shell scripts on a pool: as child processes for a `local` pool,
//! through one SSH connection for any other. Everything else is the same for both. No value is ever
//! spliced into a script: values travel on stdin.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`connection`] | [`Connection`]: connect, start a script, forward a port |
//! | `ssh`, `control` | how the system's OpenSSH is called, and the folder of its control sockets |
//! | `process`, `lines` | a started script: its pipes, the end of its stderr, how it ended |
//! | `script` | the scripts |
//! | [`open`] | [`Opened`]: what a pool is, and its hive when it has one that works |
//! | [`client`] | [`HiveClient`]: calls to a running hive, many at a time |
//! | [`advice`] | what a hive advises, for somebody who is not on its pool |
//! | [`bundle`], `machine` | [`Bundle`]: the binaries for one platform, and for what they are built |
//! | [`install`] | sends a bundle to a pool |
//! | [`error`] | [`ConnectError`]: why a pool cannot be reached, and the way out |

pub mod advice;
pub mod bundle;
pub mod client;
pub mod connection;
mod control;
pub mod error;
pub mod install;
mod lines;
mod machine;
pub mod open;
mod process;
mod script;
mod ssh;

pub use bundle::{Bundle, BundleError, BundleFile, Bundles};
pub use client::{CallError, HiveClient, Lasting};
pub use connection::{Connection, Endpoint, Forward, HostKeys, Options};
pub use error::{ConnectError, ConnectErrorKind};
pub use install::{InstallError, InstallErrorKind};
pub use open::{Broken, HiveState, Opened};
