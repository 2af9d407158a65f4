//! 2,000 streams at the same time: nothing is lost, and memory is bounded.

use super::Bench;
use super::proxy::Kind;
use super::workers::{Workers, number};
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::say;

const STREAMS: usize = 2000;
/// Of each stream, and a second.
const TOKENS: u64 = 200;
const PACE: f64 = 20.0;
/// What the program may take of memory, in MiB.
const MEMORY: f64 = 200.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let workers = Workers::start(bench.programs, PACE)?;
    say("streams: starting programs");
    let rounds = bench.rounds().min(3);
    let tokens = if bench.quick { TOKENS / 4 } else { TOKENS };
    let (mut whole, mut memory, mut gaps) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        say(&format!("streams: round {} of {rounds}", round + 1));
        // Its memory is that of these streams.
        let proxies = bench.proxies(&workers, &[Kind::Nginx])?;
        let direct = workers.closed(&workers.addresses, tokens, STREAMS, None)?;
        let mut ours = Round {
            ours: 0.0,
            peer: None,
            limit: Some(STREAMS as f64),
        };
        let mut gap = Round {
            ours: 0.0,
            peer: None,
            limit: Some(number(&direct, "/gap_ms/p99")?),
        };
        for proxy in &proxies {
            let told = workers.closed(&[proxy.address], tokens, STREAMS, None)?;
            let (ended, late) = (number(&told, "/ended")?, number(&told, "/gap_ms/p99")?);
            if proxy.kind != bench.subject {
                (ours.peer, gap.peer) = (Some(ended), Some(late));
                continue;
            }
            if ended < STREAMS as f64 {
                say(&format!("streams: not all came: {}", told["failed"]));
            }
            (ours.ours, gap.ours) = (ended, late);
            memory.extend(proxy.peak().map(|peak| Round {
                ours: peak,
                peer: None,
                limit: Some(MEMORY),
            }));
        }
        whole.push(ours);
        gaps.push(gap);
    }
    let row = |what: &str, unit, floor, rounds| Row {
        heading: format!("{STREAMS} streams of {PACE} tokens a second"),
        what: what.to_owned(),
        unit,
        against: Against::Limit,
        floor,
        drawn: false,
        rounds,
    };
    Ok(vec![
        row(
            "streams that came whole",
            Unit::Streams,
            Some(Floor::AtLeast(1.0)),
            whole,
        ),
        row(
            "peak memory",
            Unit::Mebibytes,
            Some(Floor::AtMost(1.0)),
            memory,
        ),
        row(
            "from token to token, p99, to nothing between",
            Unit::Milliseconds,
            None,
            gaps,
        ),
    ])
}
