//! The main job on this machine, from nothing and back to nothing.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use crate::{cargo, check, root, say};

const QUESTION: &str = "What is the capital of France?";
const ANSWER: &str = "Paris";

/// Builds, applies `fleet.yaml`, asks, destroys. Everything that it makes is in a temporary folder.
pub fn run(release: bool) -> anyhow::Result<()> {
    let mut build = cargo();
    build.args(["build", "--locked", "--workspace", "--bins"]);
    if release {
        build.arg("--release");
    }
    check(&mut build)?;
    let rbee = rbee(release)?;
    let home = tempfile::Builder::new().prefix("rbee-demo").tempdir()?;
    let demo = Demo {
        rbee,
        home: home.path().to_owned(),
    };
    let answered = demo.apply_and_ask();
    // Whatever happened before: no worker stays.
    let destroyed = demo.rbee(&["destroy", "--yes"]);
    answered?;
    destroyed?;
    home.close().context("cannot remove the demo's folder")?;
    say("Nothing is left behind: the worker is stopped, its folder is gone.");
    Ok(())
}

/// The built `rbee`, wherever cargo puts it.
fn rbee(release: bool) -> anyhow::Result<PathBuf> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--locked"])
        .output()?;
    let metadata: serde_json::Value =
        serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let target = metadata["target_directory"]
        .as_str()
        .context("cargo metadata names no target folder")?;
    let profile = if release { "release" } else { "debug" };
    Ok(Path::new(target).join(profile).join("rbee"))
}

struct Demo {
    rbee: PathBuf,
    home: PathBuf,
}

impl Demo {
    fn apply_and_ask(&self) -> anyhow::Result<()> {
        self.rbee(&["apply", "--yes"])?;
        self.rbee(&["status"])?;
        let answer = self.rbee(&["infer", "--worker", "chat", "--prompt", QUESTION])?;
        if answer.trim() != ANSWER {
            bail!("the answer is {:?}, not {ANSWER}", answer.trim());
        }
        Ok(())
    }

    /// Shows and runs a command of rbee, and returns what it printed while printing it.
    fn rbee(&self, args: &[&str]) -> anyhow::Result<String> {
        let shown: Vec<String> = args
            .iter()
            .map(|arg| {
                if arg.contains(' ') {
                    format!("{arg:?}")
                } else {
                    (*arg).to_owned()
                }
            })
            .collect();
        say(&format!("\n$ rbee {}", shown.join(" ")));
        let mut child = Command::new(&self.rbee)
            .args(args)
            .current_dir(root())
            .env("RBEE_HOME", &self.home)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", self.rbee.display()))?;
        let mut output = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            let mut buffer = [0; 4096];
            loop {
                let count = stdout.read(&mut buffer)?;
                if count == 0 {
                    break;
                }
                output.extend_from_slice(&buffer[..count]);
                let mut out = std::io::stdout().lock();
                out.write_all(&buffer[..count])?;
                out.flush()?;
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("`rbee {}` failed: {status}", shown.join(" "));
        }
        Ok(String::from_utf8_lossy(&output).into_owned())
    }
}
