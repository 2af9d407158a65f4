//! The main job on this machine, from nothing and back to nothing.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, bail};

use crate::{cargo, check, root, say, target_dir};

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
    let profile = if release { "release" } else { "debug" };
    Ok(target_dir()?.join(profile).join("rbee"))
}

struct Demo {
    rbee: PathBuf,
    home: PathBuf,
}

impl Demo {
    fn apply_and_ask(&self) -> anyhow::Result<()> {
        self.rbee(&["apply", "--yes"])?;
        self.rbee(&["status"])?;
        let answer = self.streamed(&["infer", "--worker", "chat", "--prompt", QUESTION])?;
        if answer.trim() != ANSWER {
            bail!("the answer is {:?}, not {ANSWER}", answer.trim());
        }
        Ok(())
    }

    /// Shows and runs a command of rbee.
    fn rbee(&self, args: &[&str]) -> anyhow::Result<()> {
        let (mut command, shown) = self.command(args);
        ended(command.status(), &shown)
    }

    /// The same, and returns what it printed while printing it; what it says of that comes after it.
    fn streamed(&self, args: &[&str]) -> anyhow::Result<String> {
        let (mut command, shown) = self.command(args);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| shown.clone())?;
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
        let rest = child.wait_with_output().with_context(|| shown.clone())?;
        std::io::stderr().write_all(&rest.stderr)?;
        ended(Ok(rest.status), &shown)?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn command(&self, args: &[&str]) -> (Command, String) {
        let quoted = |arg: &&str| {
            if arg.contains(' ') {
                format!("{arg:?}")
            } else {
                (*arg).to_owned()
            }
        };
        let shown = format!(
            "rbee {}",
            args.iter().map(quoted).collect::<Vec<_>>().join(" ")
        );
        say(&format!("\n$ {shown}"));
        let mut command = Command::new(&self.rbee);
        command
            .args(args)
            .current_dir(root())
            .env("RBEE_HOME", &self.home);
        (command, shown)
    }
}

fn ended(status: std::io::Result<ExitStatus>, shown: &str) -> anyhow::Result<()> {
    let status = status.with_context(|| format!("cannot run `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}
