//! `cargo xtask bench`: how fast the worker is on this machine, beside llama.cpp and the memory, and on a card, how models come to
//! it, how fast fleets are planned, and what the orchestrator costs.
//!
//! | module | does |
//! |---|---|
//! | `shape`, `tensors`, `weights` | what is measured |
//! | `checkpoint`, `gguf`, `random` | models of random weights, for us and for the peer |
//! | `peer`, `llama` | llama.cpp: built, and asked |
//! | `engine` | our network alone |
//! | `service`, `http` | the worker's binary |
//! | `network`, `worker` | rounds of both |
//! | `gpu` | both on a card, beside transformers |
//! | `models` | downloads and copies, beside `hf download` and curl |
//! | `plan` | plans of a hundred pools, beside plain ssh, Ansible and pyinfra |
//! | `orchestrator` | what stands between clients and workers, beside nginx, litellm and sglang-router |
//! | `timed` | a program from its start to its end |
//! | `python`, `process` | programs of Python; what the system tells of running ones |
//! | `parts` | measurements of several parts |
//! | `row`, `table`, `svg`, `page`, `machine`, `report` | the results |

mod checkpoint;
mod engine;
mod gguf;
mod gpu;
mod http;
mod llama;
mod machine;
mod models;
mod network;
mod orchestrator;
mod page;
mod parts;
mod peer;
mod plan;
mod process;
mod python;
mod random;
mod report;
mod row;
mod service;
mod shape;
mod svg;
mod table;
mod tensors;
mod timed;
mod weights;
mod worker;

use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::{Args, Subcommand, ValueEnum};

use crate::{root, say, target_dir};
use engine::{Engine, Programs, Start};
use llama::Llama;
use machine::Machine;
use network::{Network, Size};
use peer::Peer;
use report::Report;
use row::{Row, median};
use shape::Shape;
use weights::Kept;

/// What is measured.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// The worker on this machine's CPU, beside llama.cpp; fills docs/bench/
    Worker(Options),
    /// The worker on a card, beside transformers; fills docs/bench/
    Gpu(gpu::Options),
    /// How models come to a pool, beside Python's `hf download` and curl; fills docs/bench/
    Models(models::Options),
    /// How fast a fleet is planned, beside plain ssh, Ansible and pyinfra; fills docs/bench/
    Plan(plan::Options),
    /// What the orchestrator costs, beside nginx, litellm and sglang-router; fills docs/bench/
    Orchestrator(orchestrator::Options),
}

#[derive(Debug, Args)]
pub struct Options {
    /// One short round; its files go to target/bench/
    #[arg(long)]
    quick: bool,
    /// Only this shape; its files go to target/bench/
    #[arg(long)]
    shape: Option<Name>,
    /// Without llama.cpp; its files go to target/bench/
    #[arg(long)]
    no_peer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Qwen,
    Tinyllama,
}

/// Measures and reports. A floor that is missed is a result, not an error.
pub fn run(bench: &Bench) -> anyhow::Result<()> {
    match bench {
        Bench::Worker(options) => run_worker(options),
        Bench::Gpu(options) => gpu::run(options),
        Bench::Models(options) => models::run(options),
        Bench::Plan(options) => plan::run(options),
        Bench::Orchestrator(options) => orchestrator::run(options),
    }
}

/// Builds the programs that are measured on a card.
pub fn build_for_cuda() -> anyhow::Result<()> {
    let programs = Programs::build_for_cuda()?;
    for program in [programs.worker, programs.speed] {
        say(&program.display().to_string());
    }
    Ok(())
}

fn run_worker(options: &Options) -> anyhow::Result<()> {
    let target = target_dir()?;
    let home = target.join("bench");
    let peer = find_peer(options, &home);
    let programs = Programs::build(&target)?;
    let threads = std::thread::available_parallelism()?.get();
    let named = match &peer {
        Ok(peer) => peer.version.clone(),
        Err(reason) => format!("none: {reason}"),
    };
    let mut bench = Measurement {
        models: home.join("models"),
        peer: peer.ok(),
        programs,
        size: if options.quick {
            Size::QUICK
        } else {
            Size::FULL
        },
        machine: Machine::look(threads, named),
        bandwidths: Vec::new(),
        rows: Vec::new(),
        failures: Vec::new(),
    };
    std::fs::create_dir_all(&bench.models)?;
    for shape in options.shapes() {
        for kept in Kept::ALL {
            if let Err(error) = bench.measure(shape, kept) {
                bench.fail(shape, kept, &error);
            }
        }
    }
    bench.machine.bandwidth = median(bench.bandwidths.iter().copied());
    let report = Report {
        page: &page::WORKER,
        machine: bench.machine,
        command: options.command(),
        rows: bench.rows,
    };
    let whole = bench.failures.is_empty();
    let dir = options.results(&home, whole);
    report.write(&dir)?;
    crate::print(&report.text());
    say(&format!("written: {}", dir.display()));
    if !whole {
        bail!("not measured: {}", bench.failures.join("; "));
    }
    Ok(())
}

/// The peer, or why there is none.
fn find_peer(options: &Options, home: &Path) -> Result<Peer, String> {
    if options.no_peer {
        return Err("left out".to_owned());
    }
    Peer::install(&home.join("peer")).map_err(|error| {
        let reason = format!("{error:#}");
        say(&format!("peer: {reason}; its column stays empty"));
        reason
    })
}

impl Options {
    fn shapes(&self) -> Vec<&'static Shape> {
        match self.shape {
            None => vec![&shape::QWEN, &shape::TINYLLAMA],
            Some(Name::Qwen) => vec![&shape::QWEN],
            Some(Name::Tinyllama) => vec![&shape::TINYLLAMA],
        }
    }

    /// A short or partial run, or one where something failed, never takes the place of a full one.
    fn results(&self, home: &Path, whole: bool) -> PathBuf {
        if self.quick || self.no_peer || self.shape.is_some() || !whole {
            home.join("results")
        } else {
            root().join("docs").join("bench")
        }
    }

    fn command(&self) -> String {
        let mut command = "cargo xtask bench worker".to_owned();
        if self.quick {
            command.push_str(" --quick");
        }
        if let Some(name) = self.shape.and_then(|name| name.to_possible_value()) {
            command.push_str(&format!(" --shape {}", name.get_name()));
        }
        if self.no_peer {
            command.push_str(" --no-peer");
        }
        command
    }
}

struct Measurement {
    models: PathBuf,
    peer: Option<Peer>,
    programs: Programs,
    size: Size,
    machine: Machine,
    bandwidths: Vec<f64>,
    rows: Vec<Row>,
    /// What could not be measured, and why.
    failures: Vec<String>,
}

impl Measurement {
    /// Adds the rows of one shape with one kind of weights.
    fn measure(&mut self, shape: &'static Shape, kept: Kept) -> anyhow::Result<()> {
        let model = checkpoint::folder(&self.models, shape)?;
        let threads = self.machine.cores;
        let twin = match &self.peer {
            Some(peer) => Some((peer, gguf::file(&self.models, shape, kept, peer)?)),
            None => None,
        };
        let llama = twin.as_ref().map(|(peer, model)| Llama {
            peer,
            model,
            threads,
        });
        self.machine.look_for_others();
        say(&format!("{} {}: loading", shape.title, kept.name()));
        let start = Start {
            program: &self.programs.speed,
            model: &model,
            kept,
            threads,
            device: "cpu",
            slots: network::BATCH,
        };
        let mut engine = Engine::start(&start)?;
        if let Some(tier) = engine.loaded["tier"].as_str() {
            tier.clone_into(&mut self.machine.tier);
        }
        let mut network = Network {
            shape,
            kept,
            engine: &mut engine,
            peer: llama.as_ref(),
            bandwidths: &mut self.bandwidths,
        };
        self.rows.extend(network.measure(self.size)?);
        self.machine.look_for_others();
        let mut worker = worker::Worker {
            shape,
            kept,
            program: &self.programs.worker,
            model: &model,
            engine: &mut engine,
        };
        self.rows.extend(worker.measure(self.size)?);
        self.machine.look_for_others();
        Ok(())
    }

    /// What was measured before stays.
    fn fail(&mut self, shape: &Shape, kept: Kept, error: &anyhow::Error) {
        let failure = format!("{} {}: {error:#}", shape.title, kept.name());
        say(&failure);
        self.failures.push(failure);
    }
}
