//! `cargo xtask bench models`: how models come to a pool, beside Python's `hf download` and curl.
//!
//! | module | does |
//! |---|---|
//! | `repository`, `hub` | what is downloaded, and from where |
//! | `pool`, `rpc` | the hive's binary |
//! | `python`, `curl` | the others |
//! | `download`, `copy`, `observe` | rounds |

mod copy;
mod curl;
mod download;
mod hub;
mod observe;
mod pool;
mod python;
mod repository;
pub mod rpc;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;

use super::machine::Machine;
use super::page;
use super::parts::Run;
use super::row::{Against, Floor, Round, Row, Unit};
use crate::{say, target_dir};
use hub::Hub;
use pool::Pool;
use python::HfDownload;
use repository::Repository;

/// Files of weights in the repository.
const FILES: usize = 4;
/// The name that pools know its model by.
const MODEL: &str = "m";
/// Of the memory of a hive, in MiB.
const LIMIT: f64 = 100.0;

#[derive(Debug, Args)]
pub struct Options {
    /// One round with an eighth of the bytes; its files go to target/bench/
    #[arg(long)]
    quick: bool,
}

/// Measures and reports. A floor that is missed is a result, not an error.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let target = target_dir()?;
    let home = target.join("bench");
    std::fs::create_dir_all(&home)?;
    let hf = HfDownload::install(&home.join("hf")).map_err(|error| {
        let reason = format!("{error:#}");
        say(&format!("peer: {reason}; its column stays empty"));
        reason
    });
    let named = match &hf {
        Ok(hf) => hf.version.clone(),
        Err(reason) => format!("none: {reason}"),
    };
    let programs = Programs::build(&target)?;
    let threads = std::thread::available_parallelism()?.get();
    let machine = Machine::look(threads, format!("{named}; limit: {}", curl::version()?));
    let scratch = tempfile::Builder::new()
        .prefix("models-")
        .tempdir_in(&home)?;
    let (size, bytes) = if options.quick {
        ("128 MiB", 128 << 20)
    } else {
        ("1 GiB", 1 << 30)
    };
    say(&format!("models: writing {size}"));
    let served = scratch.path().join("hub");
    let repository = Repository::write(&served.join("org/bench"), FILES, bytes / FILES, 1)?;
    for (place, name) in observe::MODELS.into_iter().enumerate() {
        let folder = served.join("org").join(name);
        Repository::write(&folder, 1, observe::WEIGHTS, 2 + place as u64)?;
    }
    let hub = Hub::start(&programs.hub, &served)?;
    let bench = Bench {
        scratch: scratch.path(),
        hub: &hub,
        hive: &programs.hive,
        hf: hf.ok(),
        repository,
        heading: format!("{size} in {FILES} files"),
        rounds: if options.quick { 1 } else { 5 },
    };
    type Part = fn(&Bench) -> anyhow::Result<Vec<Row>>;
    let parts: [(&str, Part); 3] = [
        ("download", download::measure),
        ("copy", copy::measure),
        ("observe", observe::measure),
    ];
    let run = Run {
        machine,
        page: &page::MODELS,
        command: options.command(),
        home: &home,
        is_full: !options.quick,
    };
    run.measure(&bench, parts)
}

impl Options {
    fn command(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        format!("cargo xtask bench models{quick}")
    }
}

/// What all parts of a measurement share.
struct Bench<'a> {
    /// A folder that ends with the measurement.
    scratch: &'a Path,
    hub: &'a Hub,
    hive: &'a Path,
    hf: Option<HfDownload>,
    repository: Repository,
    /// What is downloaded and copied.
    heading: String,
    rounds: usize,
}

impl Bench<'_> {
    /// A pool of this name with nothing in it.
    fn pool(&self, name: &str) -> anyhow::Result<Pool<'_>> {
        Ok(Pool {
            hive: self.hive,
            home: self.place(name)?,
            hub: self.hub,
        })
    }

    /// An empty folder, whatever was there; nothing of what was there is still on its way to the disk.
    fn place(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.scratch.join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder)?;
        }
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let status = Command::new("sync").status().context("cannot run sync")?;
        if !status.success() {
            bail!("sync failed: {status}");
        }
        Ok(folder)
    }

    /// Takes as much memory as the repository needs, and gives it back: a virtual machine gets memory that it has not
    /// used for a while from its host page by page, and whoever comes next would wait for that.
    fn warm(&self) -> anyhow::Result<()> {
        let path = self.scratch.join("warm");
        let piece = vec![0; 1 << 20];
        let mut file = File::create(&path)?;
        for _ in 0..self.repository.size().div_ceil(1 << 20) {
            file.write_all(&piece)?;
        }
        std::fs::remove_file(&path)?;
        Ok(())
    }

    /// Megabytes of the repository per second.
    fn speed(&self, seconds: f64) -> f64 {
        self.repository.size() as f64 / 1e6 / seconds
    }
}

/// The memory of hives that move content.
fn memory_row(bench: &Bench, what: &str, rounds: Vec<Round>) -> Row {
    Row {
        heading: bench.heading.clone(),
        what: what.to_owned(),
        unit: Unit::Mebibytes,
        against: Against::Limit,
        floor: Some(Floor::AtMost(1.0)),
        drawn: false,
        rounds,
    }
}

/// Optimised programs.
struct Programs {
    hive: PathBuf,
    hub: PathBuf,
}

impl Programs {
    /// Builds them.
    fn build(target: &Path) -> anyhow::Result<Self> {
        let mut build = crate::cargo();
        build.args(["build", "--locked", "--release"]);
        build.args(["-p", "rbee-hive", "-p", "local-hub"]);
        crate::check(build.env("CARGO_TARGET_DIR", target))?;
        let release = target.join("release");
        Ok(Self {
            hive: release.join("rbee-hive"),
            hub: release.join("local-hub"),
        })
    }
}
