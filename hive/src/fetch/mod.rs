//! Brings what a model lacks: several files, and several ranges of each, at once.
//!
//! | module | does |
//! |---|---|
//! | `content` | one content: its streams, its digest, its place in the store |
//! | `segment` | one stream, again and again until its range is here |
//! | `supplier` | the hub, and other pools |
//! | `pace` | how far it is |

mod content;
mod pace;
mod segment;
mod supplier;

use std::sync::Arc;

use pool_core::model::ModelFile;
use pool_core::name::ModelId;
use pool_core::rpc::{Fetched, HiveError, Progress};
use pool_core::supply::{HubRepo, Peer};
use tokio::task::{JoinSet, block_in_place};
use tokio::time::{MissedTickBehavior, interval};

use crate::Hive;
use crate::error::{Result, disk_full};
use crate::home::Home;

use crate::{machine, models, rates};
use content::Job;
use pace::Pace;
use supplier::Supplier;

/// Who gives what a model lacks.
#[derive(Debug)]
pub struct From {
    pub peers: Vec<Peer>,
    pub hub: Option<HubRepo>,
    /// No more bytes than this come from the hub.
    pub most_from_hub: Option<u64>,
}

/// Brings the contents that a registered model lacks, each from the first of the peers that gives it, else from the
/// hub. What was brought is kept whatever happens to the rest.
pub async fn fetch(
    hive: &Hive,
    model: &ModelId,
    from: From,
    tell: impl Fn(Progress),
) -> Result<Fetched> {
    bring(hive, model, from, tell).await.map_err(|mut error| {
        let kept = "what came is kept";
        error.help = Some(match error.help {
            Some(help) => format!("{help}; {kept}"),
            None => kept.to_owned(),
        });
        error
    })
}

async fn bring(
    hive: &Hive,
    model: &ModelId,
    from: From,
    tell: impl Fn(Progress),
) -> Result<Fetched> {
    let home = &hive.home;
    let entry = block_in_place(|| models::find(home, model))?;
    let missing = block_in_place(|| models::missing(home, &entry));
    let mut suppliers = Vec::new();
    for peer in from.peers {
        suppliers.push(Supplier::pool(peer)?);
    }
    if let Some(hub) = &from.hub {
        suppliers.push(Supplier::hub(hub)?);
    }
    let arrived = block_in_place(|| models::arrived(home))?;
    let before = |file: &ModelFile| {
        arrived
            .get(&file.sha256)
            .map_or(0, |here| file.size.min(*here))
    };
    let total = missing.iter().map(|file| file.size).sum();
    let here = missing.iter().map(before).sum();
    if !suppliers.is_empty() {
        check_disk(home, total - here)?;
    }
    let job = Arc::new(Job::new(
        home.clone(),
        suppliers,
        Pace::new(missing.len(), total, here),
        from.most_from_hub,
    ));
    let mut files = JoinSet::new();
    for file in missing {
        files.spawn(content::bring(Arc::clone(&job), file));
    }
    let mut ticks = interval(pace::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = Vec::new();
    let ended = loop {
        tokio::select! {
            _ = ticks.tick() => tell(job.progress()),
            brought = files.join_next() => match brought.map(joined) {
                None => break Ok(()),
                Some(Ok(missing)) => left.extend(missing),
                Some(Err(error)) => break Err(error),
            },
        }
    };
    // Also of what came before an error.
    files.shutdown().await;
    let came = job.came();
    if !came.is_empty() {
        block_in_place(|| models::mark_verified(&home.lock()?, &came))?;
    }
    ended?;
    tell(job.progress());
    let (hub, pools) = job.pace.rates();
    // A rate that cannot be noted is no reason to fail.
    let _ = block_in_place(|| {
        rates::note(home, |rates| {
            rates.hub = hub.or(rates.hub);
            rates.pools = pools.or(rates.pools);
        })
    });
    left.sort_by(|a, b| a.path.cmp(&b.path));
    let (from_hub, from_pools) = job.pace.sources();
    Ok(Fetched {
        from_hub,
        from_pools,
        missing: left,
        notes: job.notes(),
    })
}

/// Refuses what the disk does not hold, before anything moves.
fn check_disk(home: &Home, needed: u64) -> Result<()> {
    match machine::disk_free(home.root()) {
        Some(free) if free < needed => Err(disk_full(home.root(), Some(needed))),
        _ => Ok(()),
    }
}

/// What a task came to. One that panicked is a fault of this program.
fn joined<T>(task: std::result::Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    match task {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(HiveError {
            code: pool_core::rpc::ErrorCode::Cancelled,
            message: "the fetch was ended".into(),
            help: None,
        }),
    }
}
