//! What is added to the first token at 200 requests a second.

use serde_json::Value;

use super::Bench;
use super::proxy::Kind;
use super::workers::{Workers, number};
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::say;

/// Requests a second.
const RATE: f64 = 200.0;
/// Of each answer, and a second: some thirty streams run at the same time.
const TOKENS: u64 = 16;
const PACE: f64 = 100.0;
/// What may be added, in milliseconds.
const P50: f64 = 1.0;
const P99: f64 = 3.0;

/// Milliseconds from when a request was due to its first token.
struct Taken {
    p50: f64,
    p99: f64,
}

/// One round: nothing between, ours, and each of the peers.
struct Times {
    direct: Taken,
    ours: Taken,
    peers: Vec<(Kind, Taken)>,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let workers = Workers::start(bench.programs, PACE)?;
    let peers = [Kind::Nginx, Kind::SglangRouter, Kind::Litellm];
    say("first token: starting programs");
    let proxies = bench.proxies(&workers, &peers)?;
    let seconds = if bench.quick { 3.0 } else { 10.0 };
    let mut times = Vec::new();
    for round in 0..bench.rounds() {
        say(&format!(
            "first token: round {} of {}",
            round + 1,
            bench.rounds()
        ));
        // Who comes first changes from round to round.
        let mut order: Vec<usize> = (0..=proxies.len()).collect();
        order.rotate_left(round % (proxies.len() + 1));
        let mut direct = None;
        let mut through = Vec::new();
        for at in order {
            match proxies.get(at) {
                None => {
                    let told = workers.open(&workers.addresses, TOKENS, RATE, seconds)?;
                    direct = Some(take(&told)?);
                }
                Some(proxy) => {
                    let told = workers.open(&[proxy.address], TOKENS, RATE, seconds)?;
                    through.push((proxy.kind, take(&told)?));
                }
            }
        }
        let ours = through.iter().position(|(kind, _)| *kind == bench.subject);
        if let (Some(ours), Some(direct)) = (ours, direct) {
            let (_, ours) = through.swap_remove(ours);
            times.push(Times {
                direct,
                ours,
                peers: through,
            });
        }
    }
    Ok(rows(&times, &peers))
}

fn take(told: &Value) -> anyhow::Result<Taken> {
    if told["asked"] != told["ended"] {
        say(&format!("first token: not all came: {told}"));
    }
    Ok(Taken {
        p50: number(told, "/first_token_ms/p50")?,
        p99: number(told, "/first_token_ms/p99")?,
    })
}

fn rows(times: &[Times], peers: &[Kind]) -> Vec<Row> {
    let row = |what: String, against, floor, drawn, rounds| Row {
        heading: format!("{RATE} requests a second"),
        what,
        unit: Unit::Milliseconds,
        against,
        floor,
        drawn,
        rounds,
    };
    let mut rows = Vec::new();
    type Of = fn(&Taken) -> f64;
    let measures: [(&str, f64, Of); 2] = [("p50", P50, |t| t.p50), ("p99", P99, |t| t.p99)];
    for (name, most, of) in measures {
        let added = |times: &Times, taken: &Taken| of(taken) - of(&times.direct);
        let rounds = times.iter().map(|t| Round {
            ours: added(t, &t.ours),
            peer: None,
            limit: Some(most),
        });
        let what = format!("added to the first token, {name}");
        rows.push(row(
            what.clone(),
            Against::Limit,
            Some(Floor::AtMost(1.0)),
            true,
            rounds.collect(),
        ));
        for peer in peers {
            let rounds = times.iter().filter_map(|t| {
                let (_, taken) = t.peers.iter().find(|(kind, _)| kind == peer)?;
                Some(Round {
                    ours: added(t, &t.ours),
                    peer: Some(added(t, taken)),
                    limit: None,
                })
            });
            let what = format!("{what}, beside {}", peer.name());
            rows.push(row(what, Against::Peer, None, false, rounds.collect()));
        }
    }
    let rounds = times.iter().map(|t| Round {
        ours: t.ours.p50,
        peer: None,
        limit: Some(t.direct.p50),
    });
    let what = "first token, p50, to nothing between".to_owned();
    rows.push(row(what, Against::Limit, None, false, rounds.collect()));
    rows
}
