//! Rounds of what a plan asks of pools: everything that they have, without reading it.

use std::thread;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Bench;
use super::pool::Pool;
use crate::bench::process;
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::bench::timed::mebibytes;
use crate::say;

/// Models of each pool, by their names on the hub.
pub const MODELS: [&str; 4] = ["one", "two", "three", "four"];
/// Bytes of the weights of each.
pub const WEIGHTS: usize = 4 << 20;

const POOLS: usize = 10;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    say(&format!("observe: {POOLS} pools bring their models"));
    let mut pools = Vec::new();
    for number in 0..POOLS {
        let pool = bench.pool(&format!("pool-{number}"))?;
        for name in MODELS {
            pool.register(name, &format!("org/{name}"))?;
            pool.download(name)?;
        }
        pools.push(pool);
    }
    let (mut read, mut time) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        say(&format!("observe: round {round} of {}", bench.rounds));
        let start = Instant::now();
        let all = thread::scope(|scope| {
            let asked: Vec<_> = pools
                .iter()
                .map(|pool| scope.spawn(|| observe(pool)))
                .collect();
            let answers = asked.into_iter().map(|asked| asked.join().ok());
            answers
                .collect::<Option<anyhow::Result<Vec<_>>>>()
                .context("an observation broke")
        })??;
        time.push(Round {
            ours: start.elapsed().as_secs_f64() * 1e3,
            peer: None,
            limit: None,
        });
        read.extend(all.into_iter().max().flatten().map(|most| Round {
            ours: mebibytes(most),
            peer: None,
            limit: Some(mebibytes(WEIGHTS as u64)),
        }));
    }
    let row = |what: &str, unit, floor, rounds| Row {
        heading: format!("{POOLS} pools with {} models", MODELS.len()),
        what: what.to_owned(),
        unit,
        against: Against::Limit,
        floor,
        drawn: false,
        rounds,
    };
    let most = Some(Floor::AtMost(1.0));
    Ok(vec![
        row(
            "observe: read of a pool, to a file of weights",
            Unit::Mebibytes,
            most,
            read,
        ),
        row("observe: time of all pools", Unit::Milliseconds, None, time),
    ])
}

/// Bytes that a hive read until it had told everything, where the system tells.
fn observe(pool: &Pool) -> anyhow::Result<Option<u64>> {
    let mut hive = pool.connect()?;
    let observed = hive.call("observe", Value::Null)?;
    let read = process::bytes_read(hive.pid());
    let models = observed["models"].as_array().context("no models")?;
    let is_whole = |model: &Value| {
        model["downloaded"] == true && model["damaged"].is_null() && model["touched"].is_null()
    };
    ensure!(
        models.len() == MODELS.len() && models.iter().all(is_whole),
        "not all models are whole: {observed}"
    );
    Ok(read)
}
