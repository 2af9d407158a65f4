//! Manual pages: one for every command of every program.

use std::path::Path;
use std::process::Command;

use crate::{cargo, check, say, target_dir};

/// Builds what writes them, and has them written to the folder.
pub fn run(out: &Path) -> anyhow::Result<()> {
    check(cargo().args(["build", "--locked", "--workspace", "--bins"]))?;
    check(Command::new(target_dir()?.join("debug/rbee-man")).arg(out))?;
    say(&format!(
        "`man -l {}` shows one",
        out.join("rbee.1").display()
    ));
    Ok(())
}
