//! `rbee` as an operator runs it: whole fleets of real pools.

mod apply;
mod codes;
mod commands;
mod crash;
mod devices;
pub mod door;
mod drift;
mod faults;
mod gate;
mod git;
mod gitops;
mod homes;
mod import;
mod import_from;
mod lock;
mod locks;
mod matrix;
mod models;
pub mod network;
mod orchestrator;
mod output;
mod part;
mod saved;
mod serving;
mod warm;
mod watch;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::program;
use crate::sshd::Lab;

/// The shipped tiny model.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../examples/models/tiny-llama")
        .canonicalize()
        .unwrap()
}

/// A folder with a fleet.yaml, a local pool's home, and an ssh configuration. When it is dropped, the
/// workers recorded in its pools are ended.
pub struct Desk {
    dir: TempDir,
    pub lab: Lab,
}

/// What a run of `rbee` came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.out, self.err
        );
        self
    }

    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let all = format!("{}{}", self.out, self.err);
        assert!(
            all.contains(text),
            "no {text:?} in stdout:\n{}\nstderr:\n{}",
            self.out,
            self.err
        );
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error} in {}{}", self.out, self.err))
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Desk {
    pub fn new() -> Self {
        program("rbee-hive");
        program("llm-worker-rbee");
        program("orchestratord");
        Self {
            dir: tempfile::Builder::new()
                .prefix("rbee-desk")
                .tempdir()
                .unwrap(),
            lab: Lab::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The home of the local pool.
    pub fn home(&self) -> PathBuf {
        self.path("local")
    }

    /// Writes fleet.yaml: its pools as YAML, and one worker `chat` of the tiny model on these devices.
    pub fn fleet(&self, pools: &str, on: &str) {
        self.write(&format!(
            "version: 1\nfleet: test\npools:\n{pools}models:\n  tiny: {{ source: {} }}\n\
             workers:\n  chat: {{ model: tiny, on: [{on}] }}\n",
            tiny().display()
        ));
    }

    pub fn write(&self, text: &str) {
        fs::write(self.path("fleet.yaml"), text).unwrap();
    }

    pub fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(program("rbee"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("RBEE_HOME", self.home())
            .env("RBEE_SSH_CONFIG", self.lab.config())
            .env_remove("RBEE_DIST")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    pub fn rbee(&self, args: &[&str]) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// The pids of all workers and orchestrators that any pool of the desk has on record.
    fn workers(&self) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut open = vec![self.dir.path().to_owned(), self.lab.path("")];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() && !path.is_symlink() {
                    open.push(path);
                } else if dir.ends_with("workers") || dir.ends_with("orchestrators") {
                    pids.extend(recorded_pid(&path));
                }
            }
        }
        pids
    }
}

/// The process of a record, if it is that worker or orchestrator still.
pub fn recorded_pid(record: &Path) -> Option<u32> {
    let record: Value = serde_json::from_str(&fs::read_to_string(record).ok()?).ok()?;
    let pid = u32::try_from(record["process"]["pid"].as_u64()?).ok()?;
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let id = record["id"].as_str().or(record["program"].as_str());
    let id = id?.as_bytes();
    line.windows(id.len()).any(|part| part == id).then_some(pid)
}

/// Sends a signal, such as `STOP`.
pub fn send(signal: &str, pid: u32) {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-s", signal, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Kills a process, and returns when it is gone.
pub fn end(pid: u32) {
    let pid = pid.to_string();
    Command::new("kill").args(["-9", &pid]).status().unwrap();
    let is_there = || fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty());
    while is_there() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        for pid in self.workers() {
            Command::new("kill")
                .arg("-9")
                .arg(pid.to_string())
                .status()
                .unwrap();
        }
    }
}
