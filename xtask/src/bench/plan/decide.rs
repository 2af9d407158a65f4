//! Plans without pools: what deciding alone takes, by the example `plan_speed` of the reconciler.

use std::collections::BTreeMap;

use anyhow::Context;
use serde_json::Value;

use super::Bench;
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::bench::timed;
use crate::{cargo, say};

const POOLS: u32 = 1000;
/// Workers and models of each pool.
const EACH: [u32; 2] = [10, 20];
const MILLISECONDS: f64 = 100.0;
/// So many times the fleet may take, at most, `LINEAR` times the time.
const TIMES: u32 = 10;
const LINEAR: f64 = 12.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    say(&format!("decide: {POOLS} pools, and {TIMES} times as many"));
    let mut rounds: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
    for _ in 0..bench.rounds {
        let (all, more) = (plan_speed(POOLS)?, plan_speed(POOLS * TIMES)?);
        for (fleet, milliseconds) in all {
            let more = more.get(&fleet).context("more were not measured")?;
            rounds.entry(fleet).or_default().push([milliseconds, *more]);
        }
    }
    let [workers, models] = EACH;
    let heading = format!("{POOLS} pools with {workers} workers and {models} models, decided");
    let row = |what: String, most, of: &dyn Fn(&[f64; 2]) -> [f64; 2], rounds: &[[f64; 2]]| Row {
        heading: heading.clone(),
        what,
        unit: Unit::Milliseconds,
        against: Against::Limit,
        floor: Some(Floor::AtMost(most)),
        drawn: false,
        rounds: rounds
            .iter()
            .map(|round| {
                let [ours, limit] = of(round);
                Round {
                    ours,
                    peer: None,
                    limit: Some(limit),
                }
            })
            .collect(),
    };
    let rows = rounds.iter().flat_map(|(fleet, rounds)| {
        let more = format!("{fleet}, {TIMES} times the pools to these");
        [
            row(fleet.clone(), 1.0, &|[all, _]| [*all, MILLISECONDS], rounds),
            row(more, LINEAR, &|[all, more]| [*more, *all], rounds),
        ]
    });
    Ok(rows.collect())
}

/// Milliseconds for each kind of fleet, by its name.
fn plan_speed(pools: u32) -> anyhow::Result<BTreeMap<String, f64>> {
    let mut run = cargo();
    run.args(["run", "--quiet", "--locked", "--release"]);
    run.args(["--package", "reconciler", "--example", "plan_speed", "--"]);
    run.args([pools, EACH[0], EACH[1]].map(|size| size.to_string()));
    let said = timed::run(&mut run, "")?.said;
    let lines = said.lines().map(|line| {
        let line: Value = serde_json::from_str(line)?;
        let fleet = line["fleet"].as_str().context("no fleet")?;
        let milliseconds = line["ms_median"].as_f64().context("no time")?;
        anyhow::Ok((fleet.to_owned(), milliseconds))
    });
    lines.collect()
}
