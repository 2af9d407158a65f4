//! `cargo xtask bench orchestrator`: what stands between clients and workers costs, beside nginx, litellm and sglang-router.
//!
//! | module | does |
//! |---|---|
//! | `workers` | mock workers, and the client of `mock-load` |
//! | `proxy`, `command` | what is measured, and how each is started |
//! | `first_token` | what is added to the first token |
//! | `relay` | tokens a second |
//! | `streams` | 2,000 streams at the same time |
//! | `tasks` | admission, scheduling and cancellation in a long queue |
//! | `leave` | how soon a worker knows that its client is gone |

mod command;
mod first_token;
mod leave;
mod proxy;
mod relay;
mod streams;
mod tasks;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::Args;

use super::machine::Machine;
use super::page;
use super::parts::Run;
use super::python::Python;
use super::row::Row;
use crate::{say, target_dir};
use proxy::{Kind, Proxy};
use workers::Workers;

const REQUIREMENTS: &str = include_str!("requirements.txt");

#[derive(Debug, Args)]
pub struct Options {
    /// One short round; its files go to target/bench/
    #[arg(long)]
    quick: bool,
    /// What is measured as ours; another than orchestratord goes to target/bench/
    #[arg(long, value_name = "PROGRAM", default_value = "orchestratord")]
    subject: Kind,
    /// Only these parts; the files go to target/bench/
    #[arg(long, value_name = "NAME")]
    part: Vec<String>,
}

type Part = fn(&Bench) -> anyhow::Result<Vec<Row>>;

const PARTS: [(&str, Part); 5] = [
    ("first-token", first_token::measure),
    ("relay", relay::measure),
    ("streams", streams::measure),
    ("tasks", tasks::measure),
    ("leave", leave::measure),
];

/// Measures and reports. A floor that is missed is a result, not an error.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let target = target_dir()?;
    let home = target.join("bench");
    fs::create_dir_all(&home)?;
    let known = |name: &String| PARTS.iter().any(|(part, _)| part == name);
    if let Some(name) = options.part.iter().find(|name| !known(name)) {
        bail!("there is no part `{name}`");
    }
    let programs = Programs::build(&target, options.subject)?;
    let (mut peers, mut versions) = (Vec::new(), Vec::new());
    for (kind, version) in peers_of(options.subject, &home) {
        match version {
            Ok(version) => {
                versions.push(version);
                peers.push(kind);
            }
            Err(error) => {
                say(&format!("peer: {error:#}; its rows stay empty"));
                versions.push(format!("no {}: {error:#}", kind.name()));
            }
        }
    }
    let scratch = tempfile::Builder::new()
        .prefix("orchestrator-")
        .tempdir_in(&home)?;
    let threads = std::thread::available_parallelism()?.get();
    let machine = Machine::look(threads, versions.join(", "));
    let bench = Bench {
        programs: &programs,
        python: home.join(GATEWAYS).join("venv").join("bin"),
        scratch: scratch.path(),
        subject: options.subject,
        peers,
        quick: options.quick,
    };
    let is_wanted =
        |name: &str| options.part.is_empty() || options.part.iter().any(|part| part == name);
    let run = Run {
        machine,
        page: &page::ORCHESTRATOR,
        command: options.command(),
        home: &home,
        is_full: !options.quick
            && options.subject == Kind::Orchestratord
            && options.part.is_empty(),
    };
    run.measure(
        &bench,
        PARTS.into_iter().filter(|(name, _)| is_wanted(name)),
    )
}

impl Options {
    fn command(&self) -> String {
        let mut command = "cargo xtask bench orchestrator".to_owned();
        if self.quick {
            command.push_str(" --quick");
        }
        if self.subject != Kind::Orchestratord {
            command.push_str(&format!(" --subject {}", self.subject.name()));
        }
        for part in &self.part {
            command.push_str(&format!(" --part {part}"));
        }
        command
    }
}

/// Where the Python environment of the peers is, below target/bench/.
const GATEWAYS: &str = "gateways";

/// The peers with their versions, or why there is none.
fn peers_of(subject: Kind, home: &Path) -> Vec<(Kind, anyhow::Result<String>)> {
    let python = install(&home.join(GATEWAYS)).map_err(|error| format!("{error:#}"));
    let packaged = |name: &str| match &python {
        Ok(()) => {
            let line = REQUIREMENTS
                .lines()
                .find(|line| line.starts_with(&format!("{name}==")));
            line.map(str::to_owned)
                .with_context(|| format!("the requirements name no {name}"))
        }
        Err(error) => bail!("{error}"),
    };
    let all = [
        (Kind::Nginx, nginx_version()),
        (Kind::SglangRouter, packaged("sglang-router")),
        (Kind::Litellm, packaged("litellm")),
    ];
    all.into_iter()
        .filter(|(kind, _)| *kind != subject)
        .collect()
}

fn install(dir: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let python = Python::begin(dir)?;
    let made = dir.join("made");
    if fs::read_to_string(&made).is_ok_and(|made| made == REQUIREMENTS) {
        return Ok(());
    }
    let requirements = dir.join("requirements.txt");
    fs::write(&requirements, REQUIREMENTS)?;
    let mut pip = Command::new(python.tool("pip"));
    pip.args(["install", "--quiet", "--no-deps", "-r"]);
    python.step(
        "installing litellm and sglang-router",
        pip.arg(&requirements),
    )?;
    fs::write(&made, REQUIREMENTS)?;
    Ok(())
}

fn nginx_version() -> anyhow::Result<String> {
    let output = Command::new(command::NGINX).arg("-v").output();
    let output = output.context("nginx is missing: install the package nginx-light or nginx")?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Ok(said.trim_start_matches("nginx version: ").to_owned())
}

/// What all parts of a measurement share.
struct Bench<'a> {
    programs: &'a Programs,
    /// The programs of the peers' Python environment.
    python: PathBuf,
    /// A folder that ends with the measurement.
    scratch: &'a Path,
    subject: Kind,
    peers: Vec<Kind>,
    quick: bool,
}

impl Bench<'_> {
    fn rounds(&self) -> usize {
        if self.quick { 1 } else { 5 }
    }

    /// Ours and these peers, in front of the workers.
    fn proxies(&self, workers: &Workers, peers: &[Kind]) -> anyhow::Result<Vec<Proxy>> {
        let peers = peers.iter().filter(|kind| self.peers.contains(kind));
        let kinds = std::iter::once(&self.subject).chain(peers);
        kinds
            .map(|kind| Proxy::start(*kind, self, workers))
            .collect()
    }
}

/// Optimised programs.
struct Programs {
    worker: PathBuf,
    load: PathBuf,
    orchestratord: PathBuf,
}

impl Programs {
    /// Builds those that are needed.
    fn build(target: &Path, subject: Kind) -> anyhow::Result<Self> {
        let mut build = crate::cargo();
        build.args(["build", "--locked", "--release", "-p", "mock-worker"]);
        if subject == Kind::Orchestratord {
            build.args(["-p", "orchestratord"]);
        }
        crate::check(build.env("CARGO_TARGET_DIR", target))?;
        let release = target.join("release");
        Ok(Self {
            worker: release.join("mock-worker"),
            load: release.join("mock-load"),
            orchestratord: release.join("orchestratord"),
        })
    }
}
