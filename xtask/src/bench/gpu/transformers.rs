//! The peer: `generate` of Python's transformers, where this machine has it. It is too large to be installed for a measurement.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::bench::engine::Engine;

const SCRIPT: &str = include_str!("generate.py");

/// What there is of it.
pub struct Transformers {
    /// As torch and the worker both name it.
    device: String,
    /// What measures, and with which versions.
    pub version: String,
    /// The card, as torch names it.
    pub card: Option<String>,
}

impl Transformers {
    /// Asks Python whether everything is there.
    ///
    /// # Errors
    /// What is missing: Python, torch, transformers, or the device.
    pub fn find(device: &str) -> anyhow::Result<Self> {
        let output = python(device)
            .stdin(Stdio::null())
            .output()
            .context("cannot run python3")?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            let why = text.lines().rfind(|line| !line.trim().is_empty());
            bail!("python3: {}", why.unwrap_or("it said nothing").trim());
        }
        Self::parse(device, &output.stdout)
    }

    fn parse(device: &str, said: &[u8]) -> anyhow::Result<Self> {
        let about: Value = serde_json::from_slice(said).context("what python3 said")?;
        let word = |name: &str| about[name].as_str().context("python3 named no version");
        let card = about["device"].as_str().filter(|name| *name != "cpu");
        Ok(Self {
            device: device.to_owned(),
            version: format!(
                "generate of transformers {}, torch {}",
                word("transformers")?,
                word("torch")?
            ),
            card: card.map(str::to_owned),
        })
    }

    /// Loads a model, to be asked as our own network is.
    pub fn load(&self, model: &Path) -> anyhow::Result<Engine> {
        Engine::begin(python(&self.device).arg(model))
    }
}

fn python(device: &str) -> Command {
    let mut command = Command::new("python3");
    command.args(["-c", SCRIPT, device]);
    // Cards are counted as the worker counts them, and everything is in the folder.
    command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
    command.env("HF_HUB_OFFLINE", "1");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_the_card_are_named() {
        let said = br#"{"torch": "2.9.1+cu130", "transformers": "5.1.0", "device": "NVIDIA H200"}"#;
        let found = Transformers::parse("cuda:0", said).unwrap();
        assert_eq!(
            found.version,
            "generate of transformers 5.1.0, torch 2.9.1+cu130"
        );
        assert_eq!(found.card.as_deref(), Some("NVIDIA H200"));
        let said = br#"{"torch": "2.9.1", "transformers": "5.1.0", "device": "cpu"}"#;
        assert_eq!(Transformers::parse("cpu", said).unwrap().card, None);
        assert!(Transformers::parse("cpu", b"{}").is_err());
    }
}
