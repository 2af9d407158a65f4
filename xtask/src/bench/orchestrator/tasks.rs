//! What admission, scheduling and cancellation take with 1,000 tasks in the queue and 100 workers.

use std::io::Read as _;
use std::io::Write as _;
use std::net::TcpStream;

use anyhow::Context as _;

use super::Bench;
use super::proxy::{Kind, Proxy};
use super::workers::{Workers, number};
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::say;

const WORKERS: usize = 100;
const QUEUED: usize = 1000;
/// Nobody waits for the end of such an answer.
const TOKENS: u64 = 100_000;
const PACE: f64 = 5.0;
/// What each may take, in milliseconds, p99.
const ADMISSION: f64 = 10.0;
const SCHEDULING: f64 = 1.0;
const CANCELLATION: f64 = 200.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    if bench.subject != Kind::Orchestratord {
        return Ok(Vec::new());
    }
    say(&format!("tasks: starting {WORKERS} workers"));
    let workers = Workers::of(bench.programs, WORKERS, 1, PACE)?;
    let mut how = vec!["tasks".to_owned()];
    let times = if bench.quick { 100 } else { 500 };
    for (name, value) in [("--times", times), ("--queued", QUEUED)] {
        how.extend([name.to_owned(), value.to_string()]);
    }
    for worker in &workers.addresses {
        how.extend(["--worker".to_owned(), worker.to_string()]);
    }
    let mut rows = [
        ("from request to acceptance, stored, p99", ADMISSION),
        ("choosing a worker, p99", SCHEDULING),
        ("from a cancellation to the worker's end, p99", CANCELLATION),
    ]
    .map(|(what, limit)| (what, limit, Vec::new()));
    for round in 0..bench.rounds() {
        say(&format!("tasks: round {} of {}", round + 1, bench.rounds()));
        let proxy = Proxy::start(Kind::Orchestratord, bench, &workers)?;
        let told = workers.load(&[proxy.address], TOKENS, &how)?;
        if told["cancelled"] != told["asked"] {
            say(&format!("tasks: not all were cancelled: {told}"));
        }
        let scheduling = upper(&metrics(&proxy)?, "orchd_scheduling_latency_ms", 0.99)?;
        let taken = [
            number(&told, "/submit_ms/p99")?,
            scheduling,
            number(&told, "/cancel_ms/p99")?,
        ];
        for ((_, limit, rounds), ours) in rows.iter_mut().zip(taken) {
            rounds.push(Round {
                ours,
                peer: None,
                limit: Some(*limit),
            });
        }
    }
    Ok(rows
        .into_iter()
        .map(|(what, _, rounds)| Row {
            heading: format!("{QUEUED} tasks queued, {WORKERS} workers"),
            what: what.to_owned(),
            unit: Unit::Milliseconds,
            against: Against::Limit,
            floor: Some(Floor::AtMost(1.0)),
            drawn: false,
            rounds,
        })
        .collect())
}

fn metrics(proxy: &Proxy) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(proxy.address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The bound of the histogram's bucket that has the percentile.
fn upper(metrics: &str, name: &str, share: f64) -> anyhow::Result<f64> {
    let lines = metrics.lines();
    let buckets = lines.filter_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix("_bucket{le=\"")?;
        let (bound, count) = rest.split_once("\"} ")?;
        Some((bound, count.parse::<f64>().ok()?))
    });
    let buckets: Vec<_> = buckets.collect();
    let (_, all) = buckets.last().with_context(|| format!("no {name}"))?;
    let found = buckets.iter().find(|(_, count)| *count >= all * share);
    let (bound, _) = found.with_context(|| format!("no bucket of {name}"))?;
    Ok(bound.parse().unwrap_or(f64::INFINITY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_at_most_its_buckets_bound() {
        let metrics =
            "x_bucket{le=\"0.5\"} 98\nx_bucket{le=\"1.0\"} 99\nx_bucket{le=\"+Inf\"} 100\n";
        let found = [0.98, 0.99, 1.0].map(|share| upper(metrics, "x", share).ok());
        assert_eq!(found, [Some(0.5), Some(1.0), Some(f64::INFINITY)]);
        assert!(upper(metrics, "y", 0.5).is_err());
    }
}
