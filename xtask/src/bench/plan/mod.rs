//! `cargo xtask bench plan`: how fast a fleet is planned, beside plain ssh, Ansible and pyinfra.
//!
//! | module | does |
//! |---|---|
//! | `site` | a hundred pools behind a real sshd, and the operator's side |
//! | `others` | Ansible and pyinfra |
//! | `gather` | rounds of plans and of what others take to ask the same |
//! | `hive` | what one pool takes to answer |
//! | `decide` | plans without pools |

mod decide;
mod gather;
mod hive;
mod others;
mod site;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;

use super::machine::Machine;
use super::page;
use super::parts::Run;
use super::row::Row;
use crate::{root, say, target_dir};
use others::Others;

#[derive(Debug, Args)]
pub struct Options {
    /// One round; its files go to target/bench/
    #[arg(long)]
    quick: bool,
}

/// Measures and reports. A floor that is missed is a result, not an error.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let target = target_dir()?;
    let home = target.join("bench");
    std::fs::create_dir_all(&home)?;
    let others = Others::install(&home.join("fleets")).map_err(|error| {
        let reason = format!("{error:#}");
        say(&format!("peer: {reason}; its column stays empty"));
        reason
    });
    let named = match &others {
        Ok(others) => others.version.clone(),
        Err(reason) => format!("none: {reason}"),
    };
    let programs = Programs::build(&target)?;
    let threads = std::thread::available_parallelism()?.get();
    let machine = Machine::look(threads, format!("{named}; limit: {}", ssh_version()?));
    let bench = Bench {
        programs: &programs,
        others: others.ok(),
        rounds: if options.quick { 1 } else { 5 },
    };
    type Part = fn(&Bench) -> anyhow::Result<Vec<Row>>;
    let parts: [(&str, Part); 3] = [
        ("gather", gather::measure),
        ("hive", hive::measure),
        ("decide", decide::measure),
    ];
    let run = Run {
        machine,
        page: &page::PLAN,
        command: options.command(),
        home: &home,
        is_full: !options.quick,
    };
    run.measure(&bench, parts)
}

impl Options {
    fn command(&self) -> String {
        let quick = if self.quick { " --quick" } else { "" };
        format!("cargo xtask bench plan{quick}")
    }
}

/// What all parts of a measurement share.
struct Bench<'a> {
    programs: &'a Programs,
    others: Option<Others>,
    rounds: usize,
}

/// Optimised programs.
struct Programs {
    rbee: PathBuf,
    hive: PathBuf,
}

impl Programs {
    /// Builds them, as they are shipped.
    fn build(target: &Path) -> anyhow::Result<Self> {
        let mut build = crate::cargo();
        build.args(["build", "--locked", "--release", "--workspace", "--bins"]);
        crate::check(build.env("CARGO_TARGET_DIR", target))?;
        let release = target.join("release");
        Ok(Self {
            rbee: release.join("rbee"),
            hive: release.join("rbee-hive"),
        })
    }
}

fn ssh_version() -> anyhow::Result<String> {
    let output = Command::new("ssh").arg("-V").output();
    let said = output.context("cannot run ssh")?.stderr;
    let said = String::from_utf8_lossy(&said);
    Ok(said.split(',').next().unwrap_or_default().trim().to_owned())
}

/// The model that the repository ships.
fn tiny() -> PathBuf {
    root().join("examples/models/tiny-llama")
}
