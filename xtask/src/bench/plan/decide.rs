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
/// As many times the time may ten times the fleet take.
const LINEAR: f64 = 12.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    say(&format!("decide: {POOLS} pools, and a tenth of them"));
    let mut rounds: BTreeMap<String, Vec<[f64; 2]>> = BTreeMap::new();
    for _ in 0..bench.rounds {
        let (all, tenth) = (plan_speed(POOLS)?, plan_speed(POOLS / 10)?);
        for (fleet, milliseconds) in all {
            let fewer = tenth.get(&fleet).context("the tenth was not measured")?;
            rounds
                .entry(fleet)
                .or_default()
                .push([milliseconds, *fewer]);
        }
    }
    let [workers, models] = EACH;
    let heading = format!("{POOLS} pools with {workers} workers and {models} models, decided");
    let row = |what: String, most, limits: &dyn Fn(&[f64; 2]) -> f64, rounds: &[[f64; 2]]| Row {
        heading: heading.clone(),
        what,
        unit: Unit::Milliseconds,
        against: Against::Limit,
        floor: Some(Floor::AtMost(most)),
        drawn: false,
        rounds: rounds
            .iter()
            .map(|round| Round {
                ours: round[0],
                peer: None,
                limit: Some(limits(round)),
            })
            .collect(),
    };
    let rows = rounds.iter().flat_map(|(fleet, rounds)| {
        let to_tenth = format!("{fleet}, to a tenth of the pools");
        [
            row(fleet.clone(), 1.0, &|_| MILLISECONDS, rounds),
            row(to_tenth, LINEAR, &|round| round[1], rounds),
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
