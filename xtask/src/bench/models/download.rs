//! Rounds of downloads from the hub.

use super::curl;
use super::{Bench, LIMIT, MODEL, memory_row};
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::bench::timed::Taken;
use crate::say;

const REPO: &str = "org/bench";

#[derive(Clone, Copy)]
enum Who {
    Ours,
    Peer,
    Curl,
}

#[derive(Default)]
struct Times {
    ours: Option<Taken>,
    peer: Option<Taken>,
    curl: Option<Taken>,
    sync: f64,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let (mut speed, mut synced, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        say(&format!(
            "{}: download, round {round} of {}",
            bench.heading, bench.rounds
        ));
        let mut order = [Who::Peer, Who::Ours, Who::Curl];
        order.rotate_left(round % 3);
        let mut times = Times::default();
        for who in order {
            take(bench, who, &mut times)?;
        }
        let (Some(ours), Some(curl)) = (times.ours, times.curl) else {
            continue;
        };
        let peer = times.peer.as_ref();
        let to = |limit| Round {
            ours: bench.speed(ours.seconds),
            peer: peer.map(|peer| bench.speed(peer.seconds)),
            limit: Some(bench.speed(limit)),
        };
        speed.push(to(curl.seconds));
        synced.push(to(curl.seconds + times.sync));
        memory.extend(ours.peak.map(|ours| Round {
            ours,
            peer: peer.and_then(|peer| peer.peak),
            limit: Some(LIMIT),
        }));
    }
    let row = |what: &str, against, floor, rounds| Row {
        heading: bench.heading.clone(),
        what: what.to_owned(),
        unit: Unit::MegabytesPerSecond,
        against,
        floor,
        drawn: against == Against::Peer,
        rounds,
    };
    let (peer, limit) = (Against::Peer, Against::Limit);
    let least = |share| Some(Floor::AtLeast(share));
    Ok(vec![
        row("download, to hf download", peer, least(1.0), speed.clone()),
        row("download, to curl", limit, least(0.6), speed),
        row("download, to curl and sync", limit, None, synced),
        memory_row(bench, "peak memory of a download", memory),
    ])
}

/// One download into a place with nothing in it, which is away after it.
fn take(bench: &Bench, who: Who, times: &mut Times) -> anyhow::Result<()> {
    let folder = bench.place("download")?;
    match who {
        Who::Ours => {
            let pool = bench.pool("download")?;
            pool.register(MODEL, REPO)?;
            bench.warm()?;
            times.ours = Some(pool.download(MODEL)?);
        }
        Who::Peer => {
            let Some(hf) = &bench.hf else {
                return Ok(());
            };
            bench.warm()?;
            times.peer = Some(hf.run(&bench.hub.url, REPO, &folder)?);
            bench.repository.check(&folder)?;
        }
        Who::Curl => {
            let url = |name: &str| format!("{}/{REPO}/resolve/main/{name}", bench.hub.url);
            let files = bench.repository.names().map(|name| (url(name), name));
            bench.warm()?;
            times.curl = Some(curl::take(files, None, &folder)?);
            bench.repository.check(&folder)?;
            times.sync = curl::sync(&folder)?;
        }
    }
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
