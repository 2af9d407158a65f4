//! `cargo xtask bench gpu`: the worker on a card, beside `generate` of transformers and what the card gives.
//!
//! | module | does |
//! |---|---|
//! | `options` | what is asked for |
//! | `transformers` | the peer |
//! | `rounds` | rounds of one shape |

mod options;
mod rounds;
mod transformers;

use std::path::PathBuf;

use anyhow::bail;

use super::engine::{Engine, Programs, Start};
use super::machine::{Machine, first_line};
use super::report::Report;
use super::row::{Row, median};
use super::shape::Shape;
use super::weights::Kept;
use super::{checkpoint, page};
use crate::{root, say, target_dir};
use options::Device;
pub use options::Options;
use rounds::{BATCH, Given, Network, Size};
use transformers::Transformers;

/// Measures and reports. A floor that is missed is a result, not an error.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let (home, programs) = match &options.programs {
        Some(folder) => (options.home(), Programs::of(folder)?),
        None => (target_dir()?.join("bench"), build(options.device)?),
    };
    let peer = find_peer(options);
    let named = match &peer {
        Ok(peer) => peer.version.clone(),
        Err(reason) => format!("none: {reason}"),
    };
    let threads = std::thread::available_parallelism()?.get();
    let mut machine = Machine::look(threads, named);
    let by_torch = peer.as_ref().ok().and_then(|peer| peer.card.clone());
    machine.card = card(options.device).or(by_torch);
    let mut bench = Measurement {
        models: home.join("models"),
        device: options.device.to_string(),
        peer: peer.ok(),
        programs,
        size: if options.quick {
            Size::QUICK
        } else {
            Size::FULL
        },
        machine,
        given: Given::default(),
        rows: Vec::new(),
        failures: Vec::new(),
    };
    std::fs::create_dir_all(&bench.models)?;
    for shape in options.shapes() {
        if let Err(error) = bench.measure(shape) {
            bench.fail(shape, &error);
            // Where not even the first ran, gigabytes of others are not written.
            if bench.rows.is_empty() {
                break;
            }
        }
    }
    if bench.rows.is_empty() {
        bail!("not measured: {}", bench.failures.join("; "));
    }
    bench.machine.bandwidth = median(bench.given.bandwidths.into_iter());
    bench.machine.matmul = median(bench.given.matmuls.into_iter());
    let report = Report {
        page: &page::GPU,
        machine: bench.machine,
        command: options.command(),
        rows: bench.rows,
    };
    let whole = bench.failures.is_empty();
    let dir = options.results(&home, &root().join("docs").join("bench"), whole);
    report.write(&dir)?;
    crate::print(&report.text());
    say(&format!("written: {}", dir.display()));
    if !whole {
        bail!("not measured: {}", bench.failures.join("; "));
    }
    Ok(())
}

fn build(device: Device) -> anyhow::Result<Programs> {
    match device {
        Device::Cpu => Programs::build(&target_dir()?),
        Device::Cuda(_) => Programs::build_for_cuda(),
    }
}

/// The peer, or why there is none.
fn find_peer(options: &Options) -> Result<Transformers, String> {
    if options.no_peer {
        return Err("left out".to_owned());
    }
    Transformers::find(&options.device.to_string()).map_err(|error| {
        let reason = format!("{error:#}");
        say(&format!("peer: {reason}; its column stays empty"));
        reason
    })
}

/// The card's name, memory and driver, as the driver's own program tells them.
fn card(device: Device) -> Option<String> {
    let Device::Cuda(index) = device else {
        return None;
    };
    let index = format!("--id={index}");
    let query = "--query-gpu=name,memory.total,driver_version";
    first_line("nvidia-smi", &[&index, query, "--format=csv,noheader"])
}

struct Measurement {
    models: PathBuf,
    device: String,
    peer: Option<Transformers>,
    programs: Programs,
    size: Size,
    machine: Machine,
    given: Given,
    rows: Vec<Row>,
    /// What could not be measured, and why.
    failures: Vec<String>,
}

impl Measurement {
    /// Adds the rows of one shape. What was measured before something failed stays.
    fn measure(&mut self, shape: &'static Shape) -> anyhow::Result<()> {
        let model = checkpoint::folder(&self.models, shape)?;
        for kept in [Kept::Bf16, Kept::Q8_0] {
            self.machine.look_for_others();
            say(&format!("{} {}: loading", shape.title, kept.name()));
            let mut engine = Engine::start(&Start {
                program: &self.programs.speed,
                model: &model,
                kept,
                threads: self.machine.cores,
                device: &self.device,
                slots: BATCH,
            })?;
            let peer = self.peer.as_ref().filter(|_| kept == Kept::Bf16);
            let mut peer = match peer.map(|peer| peer.load(&model)).transpose() {
                Ok(peer) => peer,
                Err(error) => {
                    self.fail(shape, &error.context("transformers"));
                    None
                }
            };
            let mut network = Network {
                shape,
                kept,
                engine: &mut engine,
                peer: peer.as_mut(),
                given: &mut self.given,
            };
            self.rows.extend(network.measure(self.size)?);
            // The card has room for one.
            drop((engine, peer));
            if kept == Kept::Bf16 {
                let rows = rounds::load(
                    shape,
                    &self.programs.worker,
                    &model,
                    &self.device,
                    self.size,
                )?;
                self.rows.extend(rows);
            }
        }
        self.machine.look_for_others();
        Ok(())
    }

    fn fail(&mut self, shape: &Shape, error: &anyhow::Error) {
        let failure = format!("{}: {error:#}", shape.title);
        say(&failure);
        self.failures.push(failure);
    }
}
