//! How soon a worker knows that its client is gone.

use super::Bench;
use super::proxy::Kind;
use super::workers::{Workers, number};
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::say;

/// Nobody waits for the end of such an answer.
const TOKENS: u64 = 100_000;
const PACE: f64 = 50.0;
/// What it may take, in milliseconds.
const LIMIT: f64 = 200.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let workers = Workers::start(bench.programs, PACE)?;
    say("leave: starting programs");
    let proxies = bench.proxies(&workers, &[Kind::Nginx, Kind::SglangRouter])?;
    let times = if bench.quick { 50 } else { 200 };
    let mut how = vec!["leave".to_owned(), "--times".to_owned(), times.to_string()];
    for worker in &workers.addresses {
        how.extend(["--worker".to_owned(), worker.to_string()]);
    }
    let mut rounds = Vec::new();
    for round in 0..bench.rounds() {
        say(&format!("leave: round {} of {}", round + 1, bench.rounds()));
        let mut taken = Vec::new();
        for proxy in &proxies {
            let told = workers.load(&[proxy.address], TOKENS, &how)?;
            if told["noticed"] != told["asked"] {
                say(&format!("leave: {}: {told}", proxy.kind.name()));
            }
            taken.push((proxy.kind, number(&told, "/notice_ms/p99")?));
        }
        rounds.push(taken);
    }
    let of = |kind: Kind, taken: &[(Kind, f64)]| {
        let found = taken.iter().find(|(other, _)| *other == kind);
        found.map(|(_, ms)| *ms)
    };
    let row = |what: String, against, floor, rounds| Row {
        heading: "a client that leaves with its first token".to_owned(),
        what,
        unit: Unit::Milliseconds,
        against,
        floor,
        drawn: false,
        rounds,
    };
    let beside = |peer: Option<Kind>| -> Vec<Round> {
        let rounds = rounds.iter().filter_map(|taken| {
            Some(Round {
                ours: of(bench.subject, taken)?,
                peer: match peer {
                    Some(peer) => Some(of(peer, taken)?),
                    None => None,
                },
                limit: peer.is_none().then_some(LIMIT),
            })
        });
        rounds.collect()
    };
    let what = "until the worker ends its answer, p99";
    let mut rows = vec![row(
        what.to_owned(),
        Against::Limit,
        Some(Floor::AtMost(1.0)),
        beside(None),
    )];
    for peer in [Kind::Nginx, Kind::SglangRouter] {
        let what = format!("{what}, beside {}", peer.name());
        rows.push(row(what, Against::Peer, None, beside(Some(peer))));
    }
    Ok(rows)
}
