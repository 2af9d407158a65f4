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
use crate::models::{self, Claim, Place};
use crate::{machine, rates};
use content::Job;
use pace::Pace;
use supplier::Supplier;

/// Brings the contents that a registered model lacks, each from the first of the peers that gives it, else from the
/// hub. What was brought is kept whatever happens to the rest.
pub async fn fetch(
    hive: &Hive,
    model: &ModelId,
    peers: Vec<Peer>,
    hub: Option<HubRepo>,
    tell: impl Fn(Progress),
) -> Result<Fetched> {
    let home = &hive.home;
    let entry = block_in_place(|| models::find(home, model))?;
    let missing = block_in_place(|| models::missing(home, &entry));
    let mut suppliers = Vec::new();
    for peer in peers {
        suppliers.push(Supplier::pool(peer)?);
    }
    if let Some(hub) = &hub {
        suppliers.push(Supplier::hub(hub)?);
    }
    let wanted = block_in_place(|| claim(home, &missing))?;
    let before: u64 = wanted.iter().map(|(_, place)| here(place)).sum();
    let total = missing.iter().map(|file| file.size).sum();
    if !suppliers.is_empty() {
        check_disk(home, &wanted)?;
    }
    let job = Arc::new(Job::new(
        home.clone(),
        suppliers,
        Pace::new(missing.len(), total, before),
    ));
    let mut files = JoinSet::new();
    for (file, place) in wanted {
        files.spawn(content::bring(Arc::clone(&job), file, place));
    }
    let mut ticks = interval(pace::EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = Vec::new();
    loop {
        tokio::select! {
            _ = ticks.tick() => tell(job.progress()),
            brought = files.join_next() => match brought {
                None => break,
                Some(brought) => left.extend(joined(brought)?),
            },
        }
    }
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

/// Claims each file, or finds who has it.
fn claim(home: &Home, files: &[ModelFile]) -> Result<Vec<(ModelFile, Place)>> {
    let each = files.iter().map(|file| {
        let place = Claim::take(home, file.sha256, file.size)?;
        Ok((file.clone(), place))
    });
    each.collect()
}

fn here(place: &Place) -> u64 {
    match place {
        Place::Ours(claim) => claim.here(),
        Place::Here | Place::Taken => 0,
    }
}

/// Refuses what the disk does not hold, before anything moves.
fn check_disk(home: &Home, wanted: &[(ModelFile, Place)]) -> Result<()> {
    let ours = wanted
        .iter()
        .filter(|(_, place)| matches!(place, Place::Ours(_)));
    let needed = ours.map(|(file, place)| file.size - here(place)).sum();
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
