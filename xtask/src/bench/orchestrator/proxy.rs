//! A program between clients and workers.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::workers::{Workers, whole};
use super::{Bench, command};
use crate::bench::process;

/// A gateway in Python takes most of a minute to start, and longer on a busy machine.
const PATIENCE: Duration = Duration::from_mins(4);

/// What can stand there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    Orchestratord,
    Nginx,
    Litellm,
    SglangRouter,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Orchestratord => "orchestratord",
            Self::Nginx => "nginx",
            Self::Litellm => "litellm",
            Self::SglangRouter => "sglang-router",
        }
    }
}

/// One that serves, until dropped.
pub struct Proxy {
    pub kind: Kind,
    pub address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Proxy {
    /// Starts it on a free port and waits until a stream comes through.
    pub fn start(kind: Kind, bench: &Bench, workers: &Workers) -> anyhow::Result<Self> {
        // Another program may take the port before it does; then this fails, and says so.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let dir = bench
            .scratch
            .join(format!("{}-{}", kind.name(), address.port()));
        std::fs::create_dir(&dir)?;
        let program = match kind {
            Kind::Orchestratord => command::orchestratord(bench, &dir, address, &workers.addresses),
            Kind::Nginx => command::nginx(&dir, address, &workers.addresses)?,
            Kind::Litellm => command::litellm(bench, &dir, address, &workers.addresses)?,
            Kind::SglangRouter => command::sglang_router(bench, address, &workers.addresses)?,
        };
        let log = dir.join("log");
        let mut proxy = Self {
            kind,
            address,
            child: spawn(program, &dir, &log)?,
            log,
        };
        proxy.wait(workers)?;
        Ok(proxy)
    }

    fn wait(&mut self, workers: &Workers) -> anyhow::Result<()> {
        let start = Instant::now();
        loop {
            let asked = workers.closed(&[self.address], 1, 1, None);
            let Err(error) = asked.and_then(|told| whole(&told)) else {
                return Ok(());
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended ({status}): {}", self.kind.name(), self.said());
            }
            if start.elapsed() > PATIENCE {
                bail!(
                    "{} does not serve: {error:#}: {}",
                    self.kind.name(),
                    self.said()
                );
            }
            sleep(Duration::from_millis(250));
        }
    }

    /// The end of its log.
    fn said(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    /// The most memory that all its processes had together, in MiB, if the system tells.
    pub fn peak(&self) -> Option<f64> {
        let peaks: Option<Vec<u64>> = self.processes().into_iter().map(process::peak).collect();
        Some(crate::bench::timed::mebibytes(peaks?.iter().sum()))
    }

    /// Seconds of processors that all its processes took until now.
    pub fn cpu(&self) -> f64 {
        let seconds = self
            .processes()
            .into_iter()
            .filter_map(process::cpu_seconds);
        seconds.sum()
    }

    fn processes(&self) -> Vec<u32> {
        process::group(self.child.id())
    }

    /// Whether one of its processes is there.
    fn is_there(&mut self) -> bool {
        let _ = self.child.try_wait();
        !self.processes().is_empty()
    }

    /// Sends a signal to all its processes.
    fn signal(&self, signal: &str) {
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill")
            .args([signal, "--", &group])
            .stderr(Stdio::null())
            .status();
    }
}

/// With enough files for thousands of connections, in a group of its own and with its log in a file.
fn spawn(program: Command, dir: &std::path::Path, log: &std::path::Path) -> anyhow::Result<Child> {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "ulimit -n 16384 && exec \"$0\" \"$@\""])
        .arg(program.get_program());
    shell.args(program.get_args()).current_dir(dir);
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let log = File::create(log)?;
    shell
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run {}", program.get_program().display()))
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.signal("-TERM");
        let start = Instant::now();
        while self.is_there() && start.elapsed() < Duration::from_secs(5) {
            sleep(Duration::from_millis(20));
        }
        if self.is_there() {
            self.signal("-KILL");
        }
        let _ = self.child.wait();
    }
}
