//! What is asked for, and where its results go.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};

use crate::bench::shape::{MISTRAL, PHI3, QWEN, Shape, TINYLLAMA};

#[derive(Debug, Args)]
pub struct Options {
    /// `cuda:N`, or `cpu` to try the measurement where there is no card; files of that go to target/bench/
    #[arg(long, default_value = "cuda:0")]
    pub device: Device,
    /// One short round; its files go to target/bench/
    #[arg(long)]
    pub quick: bool,
    /// Only this shape; its files go to target/bench/
    #[arg(long)]
    shape: Option<Name>,
    /// Without transformers; its files go to target/bench/
    #[arg(long)]
    pub no_peer: bool,
    /// Measure `speed` and `llm-worker-rbee` of this folder, and build nothing: neither cargo nor the sources need be here
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// Put files here; with --programs, models too (the system's temporary folder when absent)
    #[arg(long, value_name = "DIR")]
    results: Option<PathBuf>,
}

/// Where is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    Cpu,
    Cuda(u32),
}

impl FromStr for Device {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let index = text.strip_prefix("cuda:").map(str::parse);
        match (text, index) {
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some(Ok(index))) => Ok(Self::Cuda(index)),
            _ => Err("write cpu or cuda:N"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    Qwen,
    Tinyllama,
    Phi3,
    Mistral,
}

impl Options {
    /// Small ones first: what does not work is seen early.
    pub fn shapes(&self) -> Vec<&'static Shape> {
        match self.shape {
            None => vec![&QWEN, &TINYLLAMA, &PHI3, &MISTRAL],
            Some(Name::Qwen) => vec![&QWEN],
            Some(Name::Tinyllama) => vec![&TINYLLAMA],
            Some(Name::Phi3) => vec![&PHI3],
            Some(Name::Mistral) => vec![&MISTRAL],
        }
    }

    /// Where models are, on a machine that has no sources.
    pub fn home(&self) -> PathBuf {
        let results = self.results.clone();
        results.unwrap_or_else(|| std::env::temp_dir().join("rbee-bench"))
    }

    /// A short or partial run, one without a card, or one where something failed, never takes the place of a full one.
    pub fn results(&self, home: &Path, docs: &Path, whole: bool) -> PathBuf {
        if let Some(results) = &self.results {
            return results.clone();
        }
        let partial = self.quick || self.no_peer || self.shape.is_some() || !whole;
        if partial || self.device == Device::Cpu || self.programs.is_some() {
            home.join("results")
        } else {
            docs.to_owned()
        }
    }

    /// What was typed, but for folders.
    pub fn command(&self) -> String {
        let mut command = "cargo xtask bench gpu".to_owned();
        if self.device != Device::Cuda(0) {
            command.push_str(&format!(" --device {}", self.device));
        }
        if self.quick {
            command.push_str(" --quick");
        }
        if let Some(name) = self.shape.and_then(|name| name.to_possible_value()) {
            command.push_str(&format!(" --shape {}", name.get_name()));
        }
        if self.no_peer {
            command.push_str(" --no-peer");
        }
        command
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &str) -> Options {
        let words = std::iter::once("gpu").chain(words.split_whitespace());
        Cli::try_parse_from(words).unwrap().options
    }

    fn results(words: &str, whole: bool) -> PathBuf {
        options(words).results(Path::new("home"), Path::new("docs"), whole)
    }

    #[test]
    fn only_a_full_run_on_a_card_fills_the_documents() {
        for full in ["", "--device cuda:1"] {
            assert_eq!(results(full, true), Path::new("docs"), "{full}");
            assert_eq!(results(full, false), Path::new("home/results"), "{full}");
        }
        for part in [
            "--device cpu",
            "--quick",
            "--shape mistral",
            "--no-peer",
            "--programs here",
        ] {
            assert_eq!(results(part, true), Path::new("home/results"), "{part}");
            let there = results(&format!("{part} --results there"), true);
            assert_eq!(there, Path::new("there"), "{part}");
        }
        assert_eq!(options("--results there").home(), Path::new("there"));
    }

    #[test]
    fn the_command_names_what_differs_from_a_full_run() {
        let said = |words: &str| options(words).command();
        assert_eq!(said(""), "cargo xtask bench gpu");
        let all = "--device cpu --quick --shape phi3 --no-peer";
        assert_eq!(said(all), format!("cargo xtask bench gpu {all}"));
    }

    #[test]
    fn a_device_is_the_cpu_or_a_card() {
        assert_eq!("cpu".parse(), Ok(Device::Cpu));
        assert_eq!("cuda:7".parse(), Ok(Device::Cuda(7)));
        for wrong in ["cuda", "cuda:", "cuda:x", "metal:0", ""] {
            assert!(wrong.parse::<Device>().is_err(), "{wrong}");
        }
    }
}
