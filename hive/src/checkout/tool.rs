//! `git` and `cargo`, run so that they end with whoever asked for them.

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use pool_core::rpc::{ErrorCode, HiveError};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::error::{Result, fail, io_error};
use crate::process::is_unread;

/// How often it is looked whether anybody still reads what a program says.
const LOOK: Duration = Duration::from_millis(250);

/// What git is told by whoever runs it in a hook: it would leave the folder that it is given.
const ELSEWHERE: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"];

/// A program that is on this machine, to be run in a folder.
#[derive(Debug)]
pub struct Tool {
    name: &'static str,
    program: PathBuf,
    path: OsString,
}

impl Tool {
    pub fn git() -> Result<Self> {
        Self::find("git", "install git on the pool")
    }

    pub fn cargo() -> Result<Self> {
        let help = "install Rust on the pool, for the user that logs in: https://rustup.rs";
        Self::find("cargo", help)
    }

    fn find(name: &'static str, help: &str) -> Result<Self> {
        let path = search_path();
        let is_program = |path: &PathBuf| {
            let metadata = path.metadata();
            metadata.is_ok_and(|it| it.is_file() && it.permissions().mode() & 0o111 != 0)
        };
        let mut places = env::split_paths(&path).map(|folder| folder.join(name));
        let Some(program) = places.find(is_program) else {
            let message = format!("there is no {name}: looked in {}", path.display());
            return Err(fail(ErrorCode::NotFound, message, help));
        };
        Ok(Self {
            name,
            program,
            path,
        })
    }

    /// In this folder, with nobody to answer a question.
    pub fn command(&self, folder: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(arguments)
            .current_dir(folder)
            .env("PATH", &self.path)
            .env("GIT_OPTIONAL_LOCKS", "0")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "")
            .env("SSH_ASKPASS_REQUIRE", "never")
            .stdin(Stdio::null())
            .process_group(0);
        for variable in ELSEWHERE {
            command.env_remove(variable);
        }
        command
    }

    /// Runs it in silence and returns what it printed. Where it fails, the error is what it said.
    pub async fn text(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let output = self.command(folder, arguments).kill_on_drop(true).output();
        self.said(folder, arguments, output.await)
    }

    /// As [`Self::text`], of what is not to be left half done: it goes on where nobody waits for it any more.
    pub async fn finish(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        let output = self.command(folder, arguments).output();
        self.said(folder, arguments, output.await)
    }

    fn said(
        &self,
        folder: &Path,
        arguments: &[&str],
        output: io::Result<Output>,
    ) -> Result<String> {
        let output = output.map_err(|e| io_error("run", &self.program, &e))?;
        if output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout);
            return Ok(text.trim_end().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(HiveError {
            code: ErrorCode::Io,
            message: format!(
                "{} {} in {}: {}",
                self.name,
                arguments[0],
                folder.display(),
                said.trim()
            ),
            help: None,
        })
    }

    /// Starts a command whose words go to stderr as they come.
    pub fn start(&self, mut command: Command) -> Result<Running> {
        let child = stderr()
            .and_then(|stderr| command.stderr(stderr).spawn())
            .map_err(|e| io_error("run", &self.program, &e))?;
        Ok(Running { child })
    }
}

/// This process's own stderr.
fn stderr() -> io::Result<Stdio> {
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    Ok(File::from(stderr).into())
}

/// `PATH`, and behind it where programs lie that the `PATH` of a login over SSH often leaves out.
fn search_path() -> OsString {
    let var = |name| env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let cargo = var("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(PathBuf::from(var("HOME")?).join(".cargo")));
    let mut path = var("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let more = ["/opt/homebrew/bin", "/usr/local/bin"].map(PathBuf::from);
    for folder in cargo.map(|cargo| cargo.join("bin")).into_iter().chain(more) {
        path.push(":");
        path.push(folder);
    }
    path
}

/// A program in a process group of its own, which ends, with all that it started, when this is dropped.
#[derive(Debug)]
pub struct Running {
    pub child: Child,
}

impl Running {
    /// Waits for its end; it is ended where nobody reads what this process says any more.
    pub async fn ended(mut self) -> Result<ExitStatus> {
        let failed = |e: io::Error| io_error("wait for", "a program".as_ref(), &e);
        tokio::select! {
            status = self.child.wait() => status.map_err(failed),
            () = unread() => Err(broken_off()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // As long as it has not been waited for, no other group has its number.
        let leader = self.child.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(group) = leader.and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::TERM);
        }
    }
}

async fn unread() {
    while !is_unread(&io::stdout()) {
        tokio::time::sleep(LOOK).await;
    }
}

fn broken_off() -> HiveError {
    HiveError {
        code: ErrorCode::Cancelled,
        message: "broken off".into(),
        help: None,
    }
}
