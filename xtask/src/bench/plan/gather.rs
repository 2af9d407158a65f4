//! Rounds of plans that find nothing to do, and of what others take to ask the same.

use super::Bench;
use super::site::{POOLS, Site};
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::bench::timed::Taken;
use crate::say;

/// How much longer a warm plan may take than one that asks nobody, in milliseconds.
const WARM: f64 = 300.0;
/// What a plan may take of memory, in MiB.
const MEMORY: f64 = 50.0;
/// Ansible's facts take most of a minute.
const SETUPS: usize = 2;

/// Seconds of one round.
struct Times {
    cold: Taken,
    ssh: f64,
    nothing: f64,
    warm: Taken,
    over_masters: f64,
    ansible_raw: Option<f64>,
    ansible_setup: Option<f64>,
    pyinfra: Option<f64>,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    say(&format!("gather: making {POOLS} pools"));
    let site = Site::start(bench.programs)?;
    // What is used for the first time comes from the disk.
    site.ssh()?;
    site.plan()?;
    let mut times = Vec::new();
    for round in 0..bench.rounds {
        say(&format!("gather: round {} of {}", round + 1, bench.rounds));
        times.push(measure_round(bench, &site, round)?);
    }
    Ok(rows(&times))
}

fn measure_round(bench: &Bench, site: &Site, round: usize) -> anyhow::Result<Times> {
    let cold = |run: &dyn Fn() -> anyhow::Result<Taken>| {
        site.cool_down()?;
        run()
    };
    let peer = |run: &dyn Fn() -> anyhow::Result<Taken>| {
        let taken = bench.others.as_ref().map(|_| cold(run)).transpose()?;
        anyhow::Ok(taken.map(|taken| taken.seconds))
    };
    let with = |run: fn(&super::Others, &Site) -> anyhow::Result<Taken>| {
        peer(&|| match &bench.others {
            Some(others) => run(others, site),
            None => anyhow::bail!("no peers"),
        })
    };
    let ansible_raw = with(super::Others::ansible_raw)?;
    let pyinfra = with(super::Others::pyinfra)?;
    let ansible_setup = if round < SETUPS {
        with(super::Others::ansible_setup)?
    } else {
        None
    };
    // Who comes first changes from round to round.
    let (ssh, plan) = if round.is_multiple_of(2) {
        let ssh = cold(&|| site.ssh())?;
        (ssh, cold(&|| site.plan())?)
    } else {
        let plan = cold(&|| site.plan())?;
        (cold(&|| site.ssh())?, plan)
    };
    // Its masters may have been ended again.
    site.plan()?;
    let nothing = site.validate()?.seconds;
    let warm = site.plan()?;
    let over_masters = site.ssh_over_masters()?.seconds;
    Ok(Times {
        cold: plan,
        ssh: ssh.seconds,
        nothing,
        warm,
        over_masters,
        ansible_raw,
        ansible_setup,
        pyinfra,
    })
}

fn rows(times: &[Times]) -> Vec<Row> {
    let row =
        |what: &str, most: f64, against: Against, round: &dyn Fn(&Times) -> Option<Round>| Row {
            heading: format!("a plan of {POOLS} pools that finds nothing to do"),
            what: what.to_owned(),
            unit: Unit::Seconds,
            against,
            floor: Some(Floor::AtMost(most)),
            drawn: true,
            rounds: times.iter().filter_map(round).collect(),
        };
    let limit = |ours: f64, limit: f64| {
        Some(Round {
            ours,
            peer: None,
            limit: Some(limit),
        })
    };
    let peer = |ours: f64, peer: Option<f64>| {
        peer.map(|peer| Round {
            ours,
            peer: Some(peer),
            limit: None,
        })
    };
    let in_unit = |unit, row: Row| Row {
        unit,
        drawn: false,
        ..row
    };
    vec![
        row("cold beside ssh in parallel", 1.15, Against::Limit, &|t| {
            limit(t.cold.seconds, t.ssh)
        }),
        row("cold beside ansible -m raw", 0.75, Against::Peer, &|t| {
            peer(t.cold.seconds, t.ansible_raw)
        }),
        row("cold beside ansible -m setup", 0.2, Against::Peer, &|t| {
            peer(t.cold.seconds, t.ansible_setup)
        }),
        row("cold beside pyinfra exec", 1.0, Against::Peer, &|t| {
            peer(t.cold.seconds, t.pyinfra)
        }),
        row("warm beside ssh over masters", 0.6, Against::Limit, &|t| {
            limit(t.warm.seconds, t.over_masters)
        }),
        row("warm beside pyinfra exec", 0.15, Against::Peer, &|t| {
            peer(t.warm.seconds, t.pyinfra)
        }),
        in_unit(
            Unit::Milliseconds,
            row("warm, more than asking nobody", 1.0, Against::Limit, &|t| {
                limit((t.warm.seconds - t.nothing) * 1e3, WARM)
            }),
        ),
        in_unit(
            Unit::Mebibytes,
            row("peak memory, cold", 1.0, Against::Limit, &|t| {
                t.cold.peak.and_then(|peak| limit(peak, MEMORY))
            }),
        ),
        in_unit(
            Unit::Mebibytes,
            row("peak memory, warm", 1.0, Against::Limit, &|t| {
                t.warm.peak.and_then(|peak| limit(peak, MEMORY))
            }),
        ),
    ]
}
