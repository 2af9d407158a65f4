//! The hub of `examples/hub`, as a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};

/// A hub on this machine, until dropped.
pub struct Hub {
    child: Child,
    pub url: String,
}

impl Hub {
    /// Serves the repositories `root/ORG/NAME`.
    pub fn start(program: &Path, root: &Path) -> anyhow::Result<Self> {
        let mut child = Command::new(program)
            .arg(root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stdout = child.stdout.take().context("no pipe from the hub")?;
        let mut hub = Self {
            child,
            url: String::new(),
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        line.trim().clone_into(&mut hub.url);
        ensure!(!hub.url.is_empty(), "the hub does not start");
        Ok(hub)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
