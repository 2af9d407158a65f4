//! `docs/` is true: what the README and the tutorial show is what happens, the references of the command line and of
//! fleet.yaml are what the programs say, links lead somewhere.

mod cli;
mod fleet;
mod links;
mod page;
mod readme;
mod tutorial;

use std::path::{Path, PathBuf};

/// The repository's root.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .unwrap()
}
