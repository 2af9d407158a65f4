//! `orchestratord check`: whether a file could be used, before one that runs is given it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use pool_core::orchestrator::ConfigFile;

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

/// Reads the file as one that serves would, but for who may write to it.
///
/// # Errors
/// When it cannot be read, and everything that is wrong with it.
pub fn check(args: &Args) -> anyhow::Result<()> {
    let (path, text) = if args.file == Path::new("-") {
        let name = Path::new(args.kind.file_name());
        (name, std::io::read_to_string(std::io::stdin()))
    } else {
        (&*args.file, std::fs::read_to_string(&args.file))
    };
    let text = text.with_context(|| format!("cannot read {}", path.display()))?;
    match args.kind {
        ConfigFile::Tenants => drop(Tenants::of(path, &text)?),
        ConfigFile::Policy => drop(Policy::of(path, &text, Budget::default())?),
    }
    Ok(())
}
