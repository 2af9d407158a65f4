//! A Python environment of its own, and steps whose output goes to a log.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::say;

/// The environment below a folder.
pub struct Python<'a> {
    dir: &'a Path,
    log: PathBuf,
}

impl<'a> Python<'a> {
    /// Makes it when it is not there, and begins the log anew.
    pub fn begin(dir: &'a Path) -> anyhow::Result<Self> {
        let log = dir.join("install.log");
        File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let python = Self { dir, log };
        if !python.tool("pip").is_file() {
            let mut venv = Command::new("python3");
            venv.args(["-m", "venv", "--clear"]).arg(dir.join("venv"));
            python.step("making a Python environment", &mut venv)?;
        }
        Ok(python)
    }

    /// Where one of its programs is.
    pub fn tool(&self, name: &str) -> PathBuf {
        self.dir.join("venv").join("bin").join(name)
    }

    /// Runs one step with its output in the log.
    pub fn step(&self, what: &str, command: &mut Command) -> anyhow::Result<()> {
        say(&format!("peer: {what}"));
        let log = || File::options().append(true).open(&self.log);
        let shown = Path::new(command.get_program()).display().to_string();
        let status = command
            .stdin(Stdio::null())
            .stdout(log()?)
            .stderr(log()?)
            .status()
            .with_context(|| format!("cannot run {shown}"))?;
        if !status.success() {
            bail!("{what} failed ({status}): see {}", self.log.display());
        }
        Ok(())
    }
}
