//! Rounds of the real worker: loading, memory, streams, and health under load.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::engine::Engine;
use super::network::{BATCH, Size};
use super::row::{Against, Floor, Round, Row, Unit};
use super::service::{Service, percentile};
use super::shape::Shape;
use super::weights::Kept;
use crate::say;

/// Of `/health`, in milliseconds.
const HEALTH: f64 = 10.0;
/// The context of the worker, where the model has that much.
pub const CONTEXT: usize = 4096;

/// Streams of a round, with the network alone before, between and after: the difference is small, so it takes many.
const STREAMS: usize = 4;

/// One model served by the worker's binary, under measurement.
pub struct Worker<'a> {
    pub shape: &'static Shape,
    pub kept: Kept,
    pub program: &'a Path,
    pub model: &'a Path,
    /// The same model without HTTP.
    pub engine: &'a mut Engine,
}

#[derive(Default)]
struct Rounds {
    load: Vec<Round>,
    memory: Vec<Round>,
    client: Vec<Round>,
    worker: Vec<Round>,
    median: Vec<Round>,
    p99: Vec<Round>,
}

impl Worker<'_> {
    /// All rows, after all rounds.
    pub fn measure(&mut self, size: Size) -> anyhow::Result<Vec<Row>> {
        let mut rounds = Rounds::default();
        for round in 1..=size.rounds {
            say(&format!(
                "{} {}: worker, round {round} of {}",
                self.shape.title,
                self.kept.name(),
                size.rounds
            ));
            self.round(size, &mut rounds)?;
        }
        Ok(self.rows(rounds))
    }

    fn round(&mut self, size: Size, rounds: &mut Rounds) -> anyhow::Result<()> {
        let read = read(&self.model.join("model.safetensors"))?;
        let context = CONTEXT.min(self.shape.context);
        let start = || {
            let (program, model) = (self.program, self.model);
            Service::start(program, model, self.kept, "cpu", context, BATCH)
        };
        drop(start()?);
        let service = start()?;
        rounds.load.push(Round {
            ours: service.load.as_secs_f64(),
            peer: None,
            limit: Some(2.0 * read.as_secs_f64() + 1.0),
        });
        if let Some(peak) = service.peak() {
            rounds.memory.push(Round {
                ours: peak as f64 / 1e9,
                peer: None,
                limit: Some(service.kept()? / 1e9),
            });
        }
        let round = |ours, limit| Round {
            ours,
            peer: None,
            limit,
        };
        let mut before = self.engine.decode(1, size.tokens)?;
        for _ in 0..STREAMS {
            let stream = service.stream(size.tokens)?;
            let after = self.engine.decode(1, size.tokens)?;
            let alone = Some(f64::midpoint(before, after));
            rounds.client.push(round(stream.client, alone));
            rounds.worker.push(round(stream.worker, alone));
            before = after;
        }
        let taken = service.health_under_load(BATCH, Duration::from_secs(size.load))?;
        let at = |share| percentile(&taken, share).context("no health was asked for");
        rounds.median.push(round(at(0.5)?, Some(HEALTH)));
        rounds.p99.push(round(at(0.99)?, Some(HEALTH)));
        Ok(())
    }

    fn rows(&self, rounds: Rounds) -> Vec<Row> {
        let row = |what: &str, unit, floor, rounds| Row {
            heading: format!("{} {}", self.shape.title, self.kept.name()),
            what: what.to_owned(),
            unit,
            against: Against::Limit,
            floor,
            drawn: false,
            rounds,
        };
        let most = |share| Some(Floor::AtMost(share));
        let rate = Unit::TokensPerSecond;
        let rows = [
            row(
                "load to ready, to 2 x `cat` + 1 s",
                Unit::Seconds,
                most(1.0),
                rounds.load,
            ),
            row(
                "peak while loading, to weights + KV",
                Unit::Gigabytes,
                most(1.15),
                rounds.memory,
            ),
            row(
                "HTTP, to the engine alone",
                rate,
                Some(Floor::AtLeast(0.97)),
                rounds.client,
            ),
            row("HTTP by the `end` event", rate, None, rounds.worker),
            row(
                "/health under full load, p50",
                Unit::Milliseconds,
                None,
                rounds.median,
            ),
            row(
                "/health under full load, p99",
                Unit::Milliseconds,
                most(1.0),
                rounds.p99,
            ),
        ];
        // Peak memory is known on Linux only.
        rows.into_iter()
            .filter(|row| !row.rounds.is_empty())
            .collect()
    }
}

/// How long `cat` takes to read a file that was read just before.
pub fn read(path: &Path) -> anyhow::Result<Duration> {
    let cat = || -> anyhow::Result<Duration> {
        let start = Instant::now();
        let status = Command::new("cat").arg(path).stdout(Stdio::null()).status();
        let status = status.context("cannot run cat")?;
        if !status.success() {
            bail!("cat {} failed: {status}", path.display());
        }
        Ok(start.elapsed())
    };
    cat()?;
    cat()
}
