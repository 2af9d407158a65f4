//! Tokens a second through each program, and what of the processors it takes for them.

use super::Bench;
use super::proxy::{Kind, Proxy};
use super::workers::{Workers, number};
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::say;

/// At the same time, one after the other again and again.
const STREAMS: usize = 64;
/// Of each stream, every one written by itself.
const TOKENS: u64 = 500;
/// The first second does not count.
const WARM_UP: f64 = 1.0;

/// Of one run.
struct Speed {
    tokens_per_s: f64,
    /// Milliseconds of processors that the program took for a thousand tokens.
    cost: f64,
}

struct Times {
    direct: f64,
    ours: Speed,
    peers: Vec<(Kind, Speed)>,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let workers = Workers::start(bench.programs, 0.0)?;
    let peers = [Kind::Nginx, Kind::SglangRouter, Kind::Litellm];
    say("relay: starting programs");
    let proxies = bench.proxies(&workers, &peers)?;
    let seconds = WARM_UP + if bench.quick { 2.0 } else { 5.0 };
    let mut times = Vec::new();
    for round in 0..bench.rounds() {
        say(&format!("relay: round {} of {}", round + 1, bench.rounds()));
        let told = workers.closed(&workers.addresses, TOKENS, STREAMS, Some(seconds))?;
        let direct = number(&told, "/tokens_per_s")?;
        // Who comes first changes from round to round.
        let mut order: Vec<&Proxy> = proxies.iter().collect();
        order.rotate_left(round % proxies.len());
        let mut through = Vec::new();
        for proxy in order {
            through.push((proxy.kind, run(&workers, proxy, seconds)?));
        }
        if let Some(ours) = through.iter().position(|(kind, _)| *kind == bench.subject) {
            let (_, ours) = through.swap_remove(ours);
            times.push(Times {
                direct,
                ours,
                peers: through,
            });
        }
    }
    Ok(rows(&times))
}

fn run(workers: &Workers, proxy: &Proxy, seconds: f64) -> anyhow::Result<Speed> {
    let before = proxy.cpu();
    let told = workers.closed(&[proxy.address], TOKENS, STREAMS, Some(seconds))?;
    let tokens_per_s = number(&told, "/tokens_per_s")?;
    if told["failed"]
        .as_object()
        .is_none_or(|failed| !failed.is_empty())
    {
        say(&format!(
            "relay: {} failed: {}",
            proxy.kind.name(),
            told["failed"]
        ));
    }
    // Of all the time, the first second included, at the same pace.
    let all = tokens_per_s * seconds;
    Ok(Speed {
        tokens_per_s,
        cost: (proxy.cpu() - before) / all * 1e6,
    })
}

fn rows(times: &[Times]) -> Vec<Row> {
    let heading = format!("{STREAMS} streams as fast as they come");
    let row = |what: String, unit, against, floor, drawn, rounds| Row {
        heading: heading.clone(),
        what,
        unit,
        against,
        floor,
        drawn,
        rounds,
    };
    type Limit = fn(&Times) -> Option<f64>;
    let beside = |kind: Kind, of: fn(&Speed) -> f64, limit: Limit| -> Vec<Round> {
        let rounds = times.iter().filter_map(|t| {
            let (_, speed) = t.peers.iter().find(|(peer, _)| *peer == kind)?;
            Some(Round {
                ours: of(&t.ours),
                peer: Some(of(speed)),
                limit: limit(t),
            })
        });
        rounds.collect()
    };
    let mut rows = Vec::new();
    for (kind, least) in [
        (Kind::Nginx, 0.8),
        (Kind::SglangRouter, 1.0),
        (Kind::Litellm, 1.0),
    ] {
        let what = format!("relayed, beside {}", kind.name());
        let floor = Some(Floor::AtLeast(least));
        let rounds = beside(kind, |speed| speed.tokens_per_s, |t| Some(t.direct));
        rows.push(row(
            what,
            Unit::TokensPerSecond,
            Against::Peer,
            floor,
            true,
            rounds,
        ));
    }
    for kind in [Kind::Nginx, Kind::SglangRouter, Kind::Litellm] {
        let what = format!("processors for 1,000 tokens, beside {}", kind.name());
        let rounds = beside(kind, |speed| speed.cost, |_| None);
        rows.push(row(
            what,
            Unit::Milliseconds,
            Against::Peer,
            None,
            false,
            rounds,
        ));
    }
    rows
}
