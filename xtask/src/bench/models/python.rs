//! The peer: `hf download` of Python's `huggingface_hub`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::bench::python::Python;
use crate::bench::timed::{self, Taken};

/// The packages of the version that the hub is tested with.
const REQUIREMENTS: &str = "examples/hub/tests/python/requirements.txt";

/// The program, installed.
pub struct HfDownload {
    program: PathBuf,
    dir: PathBuf,
    pub version: String,
}

impl HfDownload {
    /// Installs it below `dir`, unless it is there in this version.
    ///
    /// # Errors
    /// What is missing on this machine: Python, the network.
    pub fn install(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let requirements = crate::root().join(REQUIREMENTS);
        let wanted = std::fs::read_to_string(&requirements)
            .with_context(|| format!("cannot read {}", requirements.display()))?;
        let python = Python::begin(dir)?;
        let made = dir.join("made");
        if std::fs::read_to_string(&made).ok().as_ref() != Some(&wanted) {
            let mut pip = Command::new(python.tool("pip"));
            pip.args(["install", "--quiet", "--no-deps", "-r"]);
            python.step("installing huggingface_hub", pip.arg(&requirements))?;
            std::fs::write(&made, &wanted)?;
        }
        let version = first_line(Command::new(python.tool("python")).arg("--version"))?;
        let ours = wanted
            .lines()
            .find(|line| line.starts_with("huggingface_hub"));
        let ours = ours.context("the requirements name no huggingface_hub")?;
        Ok(Self {
            program: python.tool("hf"),
            dir: dir.to_owned(),
            version: format!("hf download, {ours}, {version}"),
        })
    }

    /// Downloads a repository of a hub into a folder.
    pub fn run(&self, hub: &str, repo: &str, folder: &Path) -> anyhow::Result<Taken> {
        let mut hf = Command::new(&self.program);
        hf.args(["download", repo, "--local-dir"]).arg(folder);
        hf.env("HF_ENDPOINT", hub)
            .env("HF_HOME", self.dir.join("home"));
        for (name, value) in [
            ("HF_HUB_DISABLE_XET", "1"),
            ("HF_HUB_DISABLE_TELEMETRY", "1"),
            ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
            ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1"),
            ("HF_HUB_DISABLE_UPDATE_CHECK", "1"),
            ("NO_PROXY", "127.0.0.1"),
        ] {
            hf.env(name, value);
        }
        timed::run(hf.env_remove("HF_TOKEN"), "")
    }
}

fn first_line(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "Python does not start");
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
