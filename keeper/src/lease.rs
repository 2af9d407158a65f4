//! Leases: a run keeps everybody else from applying to its pools until it ends, however it ends.
//!
//! A lease is a call that lasts. The hive holds the lock while the call does, so it is free as soon as the connection, the
//! hive or this process is gone. The first pool by name is the gate: two runs of one fleet meet there, and the
//! one that is let in finds no pool taken by the other. A run that is refused anywhere holds nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use pool_core::name::{FleetName, PoolName};
use pool_core::rpc::{ErrorCode, Holder};
use tokio::time::Instant;

use crate::apply::lock;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::pools::Pools;
use crate::terminal::Terminal;
use crate::transport::{CallError, HiveClient, Lasting};

/// How often a pool that is locked is asked again.
const AGAIN: Duration = Duration::from_millis(400);

/// A holder that was killed just now is gone after a moment: so long is everybody waited for.
const GRACE: Duration = Duration::from_millis(800);

/// The leases of one run.
#[derive(Debug)]
pub struct Leases {
    holder: Holder,
    until: Instant,
    terminal: Terminal,
    held: Mutex<BTreeMap<PoolName, Lasting>>,
}

/// What came of one try.
#[derive(Default)]
struct Round {
    held: BTreeMap<PoolName, Lasting>,
    /// The pools that somebody else keeps locked, and the words that say who.
    refused: Vec<CallError>,
    /// The pools that cannot be locked at all.
    broken: Vec<(PoolName, CallError)>,
}

impl Leases {
    /// None yet. A pool that is locked is asked again until `patience` is over.
    pub fn new(fleet: &FleetName, command: &str, patience: Duration, terminal: Terminal) -> Self {
        Self {
            holder: Holder {
                who: who(),
                fleet: fleet.clone(),
                command: command.to_owned(),
                pid: std::process::id(),
                since: Timestamp::now(),
            },
            until: Instant::now() + patience.max(GRACE),
            terminal: Terminal {
                quiet: terminal.quiet || patience <= GRACE,
                ..terminal
            },
            held: Mutex::default(),
        }
    }

    /// Takes the lease of every pool whose hive runs, and observes them again: what is seen then stays. Of a pool
    /// that cannot be locked nothing is known any more.
    pub async fn take(&self, pools: &mut Pools) -> Result<(), Failure> {
        let hives: Vec<_> = pools
            .links
            .iter()
            .filter_map(|(name, link)| Some((name.clone(), link.hive()?)))
            .collect();
        let mut told = String::new();
        let round = loop {
            let mut round = self.round(&hives).await;
            if round.refused.is_empty() {
                break round;
            }
            join_all(
                std::mem::take(&mut round.held)
                    .into_values()
                    .map(Lasting::end),
            )
            .await;
            self.wait(&round.refused, &mut told).await?;
        };
        *lock(&self.held) = round.held;
        pools.observe_again().await;
        for (pool, error) in round.broken {
            pools.forget(pool, error);
        }
        Ok(())
    }

    /// Takes the lease of a pool that has a hive only now.
    pub async fn add(&self, pool: &PoolName, hive: &Arc<HiveClient>) -> Result<(), Failure> {
        if lock(&self.held).contains_key(pool) {
            return Ok(());
        }
        let mut told = String::new();
        loop {
            match hive.lock(self.holder.clone()).await {
                Ok(lease) => {
                    lock(&self.held).insert(pool.clone(), lease);
                    return Ok(());
                }
                Err(error) if is_locked(&error) => self.wait(&[error], &mut told).await?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Lets every pool go, and waits until they are.
    pub async fn end(&self) {
        let held = std::mem::take(&mut *lock(&self.held));
        join_all(held.into_values().map(Lasting::end)).await;
    }

    /// The gate first, then the others at once.
    async fn round(&self, hives: &[(PoolName, Arc<HiveClient>)]) -> Round {
        let mut round = Round::default();
        let (gate, others) = hives.split_at(hives.len().min(1));
        for group in [gate, others] {
            let answers = group
                .iter()
                .map(async |(pool, hive)| (pool.clone(), hive.lock(self.holder.clone()).await));
            for (pool, answer) in join_all(answers).await {
                match answer {
                    Ok(lease) => {
                        round.held.insert(pool, lease);
                    }
                    Err(error) if is_locked(&error) => round.refused.push(error),
                    Err(error) => round.broken.push((pool, error)),
                }
            }
            if !round.refused.is_empty() {
                break;
            }
        }
        round
    }

    /// The lease of the pool ended before the run did: somebody else may apply to it.
    pub fn is_lost(&self, pool: &PoolName) -> bool {
        lock(&self.held).get(pool).is_some_and(Lasting::is_lost)
    }

    /// Says once who holds what is wanted, and waits a little; an error when there is no more time.
    async fn wait(&self, refused: &[CallError], told: &mut String) -> Result<(), Failure> {
        let words: Vec<String> = refused.iter().map(ToString::to_string).collect();
        let words = words.join("\n       ");
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(words)
                .help(
                    "`--lock-timeout SECONDS` waits for it; a lock ends with the run that holds it",
                )
                .exit(Exit::LOCKED));
        }
        if *told != words {
            self.terminal.note(&format!("Waiting: {words}\n"));
            *told = words;
        }
        // Two runs that refuse each other do not go on in step.
        let odd = Duration::from_millis(u64::from(self.holder.pid % 250));
        tokio::time::sleep(left.min(AGAIN + odd)).await;
        Ok(())
    }
}

fn is_locked(error: &CallError) -> bool {
    matches!(error, CallError::Hive { error, .. } if error.code == ErrorCode::Locked)
}

/// `USER@HOST`; the number of a user that the system has no name for.
fn who() -> String {
    let user = whoami::username().ok().filter(|name| !name.is_empty());
    let user = user.unwrap_or_else(|| rustix::process::getuid().as_raw().to_string());
    let system = rustix::system::uname();
    format!("{user}@{}", system.nodename().to_string_lossy())
}
