//! What one pool takes to answer: `rbee-hive` from its start to its last word.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::{Bench, Programs, tiny};
use crate::bench::models::rpc::Connection;
use crate::bench::process;
use crate::bench::row::{Against, Floor, Round, Row, Unit};
use crate::bench::timed::{self, mebibytes};
use crate::say;

/// Models and workers of the pool.
const COUNT: usize = 8;
/// Observations in a round for each that gather has.
const EACH: usize = 4;
const MILLISECONDS: f64 = 15.0;
const MEBIBYTES: f64 = 10.0;

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    say(&format!(
        "hive: a pool with {COUNT} models and {COUNT} workers"
    ));
    let pool = Pool::make(bench.programs)?;
    pool.observe()?;
    let (mut times, mut peaks) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds * EACH {
        let (milliseconds, peak) = pool.observe()?;
        times.push(round(milliseconds, MILLISECONDS));
        peaks.extend(peak.map(|peak| round(mebibytes(peak), MEBIBYTES)));
    }
    let row = |what: &str, unit, rounds| Row {
        heading: format!("a pool with {COUNT} models and {COUNT} workers"),
        what: what.to_owned(),
        unit,
        against: Against::Limit,
        floor: Some(Floor::AtMost(1.0)),
        drawn: false,
        rounds,
    };
    Ok(vec![
        row("rbee-hive: start to observation", Unit::Milliseconds, times),
        row("rbee-hive: peak memory", Unit::Mebibytes, peaks),
    ])
}

fn round(ours: f64, limit: f64) -> Round {
    Round {
        ours,
        peer: None,
        limit: Some(limit),
    }
}

/// A pool with workers, which are stopped when this is dropped.
struct Pool<'a> {
    dir: tempfile::TempDir,
    programs: &'a Programs,
}

impl<'a> Pool<'a> {
    fn make(programs: &'a Programs) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new().prefix("rbee-plan").tempdir()?;
        let pool = Self { dir, programs };
        let (mut models, mut workers) = (String::new(), String::new());
        for number in 1..=COUNT {
            let folder = pool.path(&format!("m{number}"));
            copy_of_tiny(&folder, number)?;
            models.push_str(&format!(
                "  m{number}: {{ source: {} }}\n",
                folder.display()
            ));
            workers.push_str(&format!(
                "  w{number}: {{ model: m{number}, on: [here/cpu] }}\n"
            ));
        }
        let fleet = format!(
            "version: 1\nfleet: bench\npools:\n  here: {{ connect: local, devices: [cpu] }}\nmodels:\n{models}workers:\n{workers}"
        );
        fs::write(pool.path("fleet.yaml"), fleet)?;
        timed::run(&mut pool.rbee("apply"), "")?;
        Ok(pool)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn rbee(&self, command: &str) -> Command {
        let mut rbee = Command::new(&self.programs.rbee);
        rbee.args([command, "--yes"])
            .current_dir(self.dir.path())
            .env("RBEE_HOME", self.path("home"))
            .env_remove("RBEE_DIST");
        rbee
    }

    /// Milliseconds and the most memory.
    fn observe(&self) -> anyhow::Result<(f64, Option<u64>)> {
        let start = Instant::now();
        let mut command = Command::new(self.path("home/bin/current/rbee-hive"));
        command.arg("rpc").env("RBEE_HOME", self.path("home"));
        let mut hive = Connection::open(&mut command)?;
        let observed = hive.call("observe", Value::Null)?;
        let milliseconds = start.elapsed().as_secs_f64() * 1e3;
        let peak = process::peak(hive.pid());
        let workers = observed["workers"].as_array().context("no workers")?;
        let serving = workers
            .iter()
            .filter(|worker| worker["answers"] == json!(true));
        ensure!(
            serving.count() == COUNT,
            "not all workers answer: {observed}"
        );
        let models = observed["models"].as_array().map(Vec::len);
        ensure!(
            models == Some(COUNT),
            "not all models are there: {observed}"
        );
        Ok((milliseconds, peak))
    }
}

impl Drop for Pool<'_> {
    fn drop(&mut self) {
        // Where workers cannot be stopped, nothing else can be done here.
        let _ = timed::run(&mut self.rbee("destroy"), "");
    }
}

/// The shipped model with other weights, by so many of their last bits.
fn copy_of_tiny(folder: &Path, number: usize) -> anyhow::Result<()> {
    fs::create_dir(folder)?;
    for file in fs::read_dir(tiny())? {
        let file = file?;
        let mut content = fs::read(file.path())?;
        if file.file_name() == "model.safetensors" {
            let last = content.len() - 4;
            content[last] ^= u8::try_from(number)?;
        }
        fs::write(folder.join(file.file_name()), content)?;
    }
    Ok(())
}
