//! A started script or program.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use openssh::Session;
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::ssh;

/// A script that runs on a pool, or a program here, with its pipes. It ends when its stdin closes.
#[derive(Debug)]
pub struct Process {
    pub stdin: Sender,
    pub stdout: BufReader<Receiver>,
    pub running: Running,
}

/// What remains of a process when its pipes are in other hands.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stderr: Tail,
}

#[derive(Debug)]
enum Child {
    Local(Box<tokio::process::Child>),
    Remote(Box<openssh::Child<Arc<Session>>>),
}

type Pipe = Option<io::Result<OwnedFd>>;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    pub exit: Exit,
    /// The last lines that it wrote to stderr, in one.
    pub stderr: String,
}

/// The manner of an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Exit {
    #[error("exit {0}")]
    Code(i32),
    #[error("killed")]
    Killed,
    /// The connection to the pool is gone.
    #[error("{0}")]
    Lost(String),
    #[error("still running")]
    NotYet,
}

impl Process {
    /// On this machine.
    pub fn local(script: &str, home: Option<&Path>) -> Result<Self, String> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script);
        if let Some(home) = home {
            command.env("RBEE_HOME", home);
        }
        Self::child(command)
    }

    /// A program of this machine.
    pub fn program(path: &Path, args: &[&str]) -> Result<Self, String> {
        let mut command = Command::new(path);
        command.args(args);
        Self::child(command)
    }

    /// In a process group of its own: Ctrl-C is for rbee, which then closes stdin, as for any other pool.
    fn child(mut command: Command) -> Result<Self, String> {
        command.process_group(0);
        command.stdin(Stdio::piped());
        command.stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            let program = command.as_std().get_program().display();
            format!("cannot start {program}: {error}")
        })?;
        let stdin = child.stdin.take().map(ChildStdin::into_owned_fd);
        let stdout = child.stdout.take().map(ChildStdout::into_owned_fd);
        let stderr = child.stderr.take().map(ChildStderr::into_owned_fd);
        Self::new(Child::Local(Box::new(child)), stdin, stdout, stderr)
    }

    /// On the other side of an SSH connection, by the login shell: its words are quoted for any.
    pub async fn remote(session: &Arc<Session>, argv: &[&str]) -> Result<Self, String> {
        let [program, arguments @ ..] = argv else {
            return Err("there is nothing to start".to_owned());
        };
        let mut command = session.clone().arc_command(*program);
        command.args(arguments);
        command.stdin(openssh::Stdio::piped());
        command.stdout(openssh::Stdio::piped());
        command.stderr(openssh::Stdio::piped());
        let spawned = command.spawn().await;
        let mut child = spawned.map_err(|error| ssh::words(&error))?;
        let stdin = child.stdin().take().map(openssh::ChildStdin::into_owned_fd);
        let stdout = child.stdout().take();
        let stdout = stdout.map(openssh::ChildStdout::into_owned_fd);
        let stderr = child.stderr().take();
        let stderr = stderr.map(openssh::ChildStderr::into_owned_fd);
        Self::new(Child::Remote(Box::new(child)), stdin, stdout, stderr)
    }

    fn new(child: Child, stdin: Pipe, stdout: Pipe, stderr: Pipe) -> Result<Self, String> {
        let pipe = |pipe: Pipe| pipe.unwrap_or_else(|| Err(io::Error::other("no pipe")));
        let assemble = || {
            Ok(Self {
                stdin: Sender::from_owned_fd(pipe(stdin)?)?,
                stdout: BufReader::new(Receiver::from_owned_fd(pipe(stdout)?)?),
                running: Running {
                    child,
                    stderr: Tail::of(Receiver::from_owned_fd(pipe(stderr)?)?),
                },
            })
        };
        assemble().map_err(|error: io::Error| format!("cannot talk to what was started: {error}"))
    }

    /// Closes stdin and waits a little for the end.
    pub async fn end(self) -> Ended {
        drop((self.stdin, self.stdout));
        self.running.ended().await
    }
}

impl Running {
    /// Waits a little for the end, which an end of stdout has announced.
    pub async fn ended(self) -> Ended {
        const PATIENCE: Duration = Duration::from_secs(2);
        let exit = match self.child {
            Child::Local(mut child) => {
                let wait = tokio::time::timeout(PATIENCE, child.wait()).await;
                wait.map_or(Exit::NotYet, |status| match status.map(|s| s.code()) {
                    Ok(Some(code)) => Exit::Code(code),
                    Ok(None) | Err(_) => Exit::Killed,
                })
            }
            Child::Remote(child) => {
                let session = child.session();
                let wait = tokio::time::timeout(PATIENCE, child.wait()).await;
                match wait {
                    Err(_) => Exit::NotYet,
                    Ok(result) => ssh::exit(result, &session).await,
                }
            }
        };
        let stderr = self.stderr.finish().await;
        Ended { exit, stderr }
    }
}

impl Ended {
    /// In one line: why nothing more comes.
    pub fn cause(&self) -> String {
        match &self.exit {
            Exit::Lost(cause) => cause.clone(),
            exit if self.stderr.is_empty() => exit.to_string(),
            exit => format!("{exit}: {}", self.stderr),
        }
    }
}

/// Reads stderr so that it cannot fill up, and keeps its end.
#[derive(Debug)]
struct Tail {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Tail {
    const LIMIT: usize = 4096;

    fn of(mut pipe: Receiver) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = bytes.clone();
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok(count @ 1..) = pipe.read(&mut buffer).await {
                let Ok(mut kept) = shared.lock() else { return };
                kept.extend_from_slice(&buffer[..count]);
                let surplus = kept.len().saturating_sub(Self::LIMIT);
                kept.drain(..surplus);
            }
        });
        Self { bytes, reader }
    }

    async fn finish(self) -> String {
        // Something that the process left behind may hold the pipe open.
        tokio::time::timeout(Duration::from_millis(500), self.reader)
            .await
            .ok();
        let kept = self
            .bytes
            .lock()
            .map(|kept| kept.clone())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&kept);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim_end)
            .filter(|l| !l.is_empty())
            .collect();
        lines[lines.len().saturating_sub(5)..].join("; ")
    }
}
