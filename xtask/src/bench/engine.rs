//! A network without HTTP: the program `speed` of the worker, or one that answers as it does, asked line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde_json::Value;

use super::weights::Kept;
use crate::cuda;

/// The program with a model loaded, until dropped.
pub struct Engine {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it said once it was loaded.
    pub loaded: Value,
}

/// How it is started.
pub struct Start<'a> {
    pub program: &'a Path,
    pub model: &'a Path,
    pub kept: Kept,
    pub threads: usize,
    /// As the worker names it.
    pub device: &'a str,
    /// Sequences that fit at once.
    pub slots: usize,
}

impl Engine {
    /// Starts our program and waits until it has loaded the model.
    pub fn start(start: &Start) -> anyhow::Result<Self> {
        let mut command = Command::new(start.program);
        command.arg(start.model).arg(start.kept.name());
        command.arg(start.device).arg(start.slots.to_string());
        command.env("RBEE_THREADS", start.threads.to_string());
        Self::begin(&mut command)
    }

    /// Starts a program that says in a line of JSON what it loaded, and then answers.
    pub fn begin(command: &mut Command) -> anyhow::Result<Self> {
        // Cards are counted as the worker and `nvidia-smi` count them.
        command.env("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
        let name = Path::new(command.get_program()).display().to_string();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let (Some(questions), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipe to {name}");
        };
        let mut engine = Self {
            child,
            questions,
            answers: BufReader::new(answers),
            loaded: Value::Null,
        };
        engine.loaded = engine.answer().context("while it loaded the model")?;
        Ok(engine)
    }

    /// Tokens per second of one or several sequences together, after a short prompt each.
    pub fn decode(&mut self, sequences: usize, tokens: usize) -> anyhow::Result<f64> {
        self.number(&format!("decode {sequences} {tokens}"), "tokens_per_s")
    }

    /// Tokens of a prompt per second.
    pub fn prefill(&mut self, tokens: usize) -> anyhow::Result<f64> {
        self.number(&format!("prefill {tokens}"), "tokens_per_s")
    }

    /// Tokens per second with little and with much behind them, taken in turns.
    pub fn context(
        &mut self,
        short: usize,
        long: usize,
        tokens: usize,
    ) -> anyhow::Result<(f64, f64)> {
        let answer = self.ask(&format!("context {short} {long} {tokens}"))?;
        let speed = |name: &str| answer[name].as_f64().context("it names no speed");
        Ok((speed("short_tokens_per_s")?, speed("long_tokens_per_s")?))
    }

    /// Bytes per second that all threads together read from memory.
    pub fn bandwidth(&mut self) -> anyhow::Result<f64> {
        self.number("bandwidth", "bytes_per_s")
    }

    /// Bytes per second that the device reads and writes while it copies.
    pub fn copy(&mut self) -> anyhow::Result<f64> {
        self.number("copy", "bytes_per_s")
    }

    /// Operations per second of the device while it multiplies matrices.
    pub fn matmul(&mut self) -> anyhow::Result<f64> {
        self.number("matmul", "flops_per_s")
    }

    fn number(&mut self, question: &str, name: &str) -> anyhow::Result<f64> {
        let answer = self.ask(question)?;
        let number = answer[name].as_f64().filter(|number| *number > 0.0);
        number.with_context(|| format!("`{question}`: the answer {answer} has no {name}"))
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<Value> {
        writeln!(self.questions, "{question}")?;
        self.answer().with_context(|| format!("`{question}`"))
    }

    fn answer(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            bail!("the measuring program ended: {}", self.child.wait()?);
        }
        serde_json::from_str(&line).with_context(|| format!("it said {:?}", line.trim()))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Optimised programs of the worker.
pub struct Programs {
    pub speed: PathBuf,
    pub worker: PathBuf,
}

/// What is built of the worker, as cargo is told.
const PARTS: [[&str; 2]; 2] = [["--example", "speed"], cuda::WORKER];

impl Programs {
    /// Builds them for the CPU.
    pub fn build(target: &Path) -> anyhow::Result<Self> {
        for what in PARTS {
            let mut build = crate::cargo();
            build.args(["build", "--locked", "--release", "-p", "llm-worker-rbee"]);
            build.env("CARGO_TARGET_DIR", target);
            crate::check(build.args(what))?;
        }
        Ok(Self::built(&target.join("release")))
    }

    /// Builds them for CUDA.
    pub fn build_for_cuda() -> anyhow::Result<Self> {
        Ok(Self::built(&cuda::build_parts(&PARTS)?))
    }

    fn built(release: &Path) -> Self {
        Self {
            speed: release.join("examples").join("speed"),
            worker: release.join("llm-worker-rbee"),
        }
    }

    /// Those that were built elsewhere.
    pub fn of(folder: &Path) -> anyhow::Result<Self> {
        let find = |name: &str| {
            let path = folder.join(name);
            match path.canonicalize() {
                Ok(path) if path.is_file() => Ok(path),
                _ => bail!("{} is not there: copy it", path.display()),
            }
        };
        Ok(Self {
            speed: find("speed")?,
            worker: find("llm-worker-rbee")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_of_a_folder_must_be_there() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("speed"), "").unwrap();
        let error = Programs::of(folder.path()).err().unwrap().to_string();
        assert!(error.contains("llm-worker-rbee"), "{error}");
        std::fs::write(folder.path().join("llm-worker-rbee"), "").unwrap();
        let programs = Programs::of(folder.path()).unwrap();
        assert!(programs.speed.is_absolute() && programs.worker.is_absolute());
    }
}
