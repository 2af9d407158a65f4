//! The hive manages one pool: its models, its worker processes, what it says of itself. It is a
//! command that runs on demand, not a daemon; nothing of it stays but files and workers.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | [`cli`] | the command line, for people and for `rbee pool` |
//! | [`rpc`] | the same over stdin and stdout, for `rbee apply` |
//! | [`observe`] | what the pool says of itself |
//! | [`models`] | the catalog and the content |
//! | [`hub`] | what the hub has |
//! | [`fetch`], [`serve`], [`rates`] | content that comes from the hub and goes from pool to pool |
//! | [`workers`] | spawning, probing and stopping worker processes |
//! | [`orchestrators`] | the same of the fleets' orchestrators |
//! | [`links`] | what the workers of a fleet know of their orchestrator |
//! | [`services`] | processes that outlive the hive: how they are started, supervised and ended, and their logs |
//! | [`process`], [`machine`] | what the system knows of a process and of the machine |
//! | [`home`], [`file`](mod@file) | the state folder, its lock, its files |
//! | [`lease`] | the whole pool for one apply |
//! | [`expect`] | what a plan relied on |
//! | [`builds`] | the installed builds |
//! | [`checkout`] | a git checkout of rbee, and builds of it |
//! | [`error`] | how failures are said |
//!
//! # What always holds
//!
//! - A file is whole or not there; one that is not understood is never overwritten.
//! - Whatever changes the state holds the lock of [`home::Home::lock`]; who holds it waits for
//!   nobody.
//! - A process is signalled only when pid, start time and boot are those of the record.
//! - The record of a worker or an orchestrator is there before its process, so no process is without one.
//! - A worker is ready only after it answered a real request.

pub mod builds;
pub mod checkout;
pub mod cli;
pub mod error;
pub mod expect;
pub mod fetch;
pub mod file;
pub mod home;
pub mod hub;
pub mod lease;
pub mod links;
pub mod machine;
pub mod models;
pub mod observe;
pub mod orchestrators;
pub mod process;
pub mod rates;
pub mod rpc;
pub mod serve;
pub mod services;
pub mod workers;

use std::hash::{BuildHasher as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use error::{Result, io_error};
use home::{Home, Locked};

/// One pool, seen from the hive that manages it.
#[derive(Debug, Clone)]
pub struct Hive {
    pub home: Home,
    /// This program, where it really lies.
    pub exe: PathBuf,
    pub http: reqwest::Client,
}

impl Hive {
    pub fn from_env() -> Result<Self> {
        let exe = std::env::current_exe()
            .and_then(|exe| exe.canonicalize())
            .map_err(|e| io_error("find", "rbee-hive".as_ref(), &e))?;
        Ok(Self {
            home: Home::from_env()?,
            exe,
            http: workers::client()?,
        })
    }
}

/// Removes old logs and builds. What cannot be removed now waits for the next time.
fn tidy(hive: &Hive, home: &Locked) {
    let act = || {
        let (workers, orchestrators) = (workers::all(home)?, orchestrators::all(home)?);
        let programs = workers.iter().map(|record| &record.program);
        let programs = programs.chain(orchestrators.iter().map(|record| &record.program));
        let _ = builds::prune(hive, home, programs.map(Path::new));
        let logs = workers.iter().map(|record| &record.log);
        let logs = logs.chain(orchestrators.iter().map(|record| &record.log));
        let logs: Vec<PathBuf> = logs.map(PathBuf::from).collect();
        services::log::prune(home, &logs)
    };
    let _: Result<()> = act();
}

/// Locks a mutex whose data is whole at every moment, so that a panic elsewhere does not matter.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Eight digits that nobody else draws.
fn random_hex() -> String {
    let seed = std::hash::RandomState::new().build_hasher().finish();
    format!("{:08x}", seed as u32)
}
