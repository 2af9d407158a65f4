//! `orchestratord check`: whether a file could be used, before one that runs is given it.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use pool_core::check::LARGEST;
use pool_core::orchestrator::ConfigFile;
use pool_core::units::bytes;

use crate::policy::{Budget, Policy};
use crate::tenants::Tenants;

/// What is checked.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `tenants` or `policy`
    #[arg(value_name = "KIND")]
    pub kind: ConfigFile,

    /// The file; `-` reads it from standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Reads the file as one that serves would.
///
/// # Errors
/// When it cannot be read or used.
pub fn check(args: &Args) -> anyhow::Result<()> {
    if args.file != Path::new("-") {
        match args.kind {
            ConfigFile::Tenants => drop(Tenants::read(&args.file)?),
            ConfigFile::Policy => drop(Policy::read(&args.file)?),
        }
        return Ok(());
    }
    let mut text = String::new();
    let mut input = std::io::stdin().take(LARGEST + 1);
    input
        .read_to_string(&mut text)
        .context("cannot read standard input")?;
    if text.len() as u64 > LARGEST {
        bail!("standard input is larger than {}", bytes(LARGEST));
    }
    let name = Path::new(args.kind.file_name());
    match args.kind {
        ConfigFile::Tenants => drop(Tenants::of(name, &text)?),
        ConfigFile::Policy => drop(Policy::of(name, &text, Budget::default())?),
    }
    Ok(())
}
