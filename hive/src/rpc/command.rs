//! Any command of `rbee-hive`, with its output line by line.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use pool_core::rpc::{Event, Stream};
use pool_core::supply::{HubAccess, Secret};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::{Child, Command};

use super::Replies;
use crate::Hive;
use crate::error::{Result, io_error};

/// Runs this program with other arguments and returns its exit code. Interrupted when dropped.
///
/// What the operator says of the hub is in its environment, which only this user can read.
pub async fn run(
    hive: &Hive,
    argv: &[String],
    access: &HubAccess,
    replies: &Replies,
) -> Result<i32> {
    let failed = |e: io::Error| io_error("run", &hive.exe, &e);
    let endpoint = access.endpoint.as_deref();
    let token = access.token.as_ref().map(Secret::expose);
    let child = Command::new(&hive.exe)
        .args(argv)
        .envs(endpoint.map(|endpoint| ("HF_ENDPOINT", endpoint)))
        .envs(token.map(|token| ("HF_TOKEN", token)))
        .env("RBEE_HOME", hive.home.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut running = Running(child);
    let child = &mut running.0;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    tokio::try_join!(
        relay(stdout, Stream::Stdout, replies),
        relay(stderr, Stream::Stderr, replies),
    )
    .map_err(failed)?;
    let status = child.wait().await.map_err(failed)?;
    // As a shell says it.
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(code.unwrap_or(1))
}

/// A command that is told to end when this is dropped, as by Ctrl-C: it ends what it started itself.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // As long as it has not been waited for, no other process has its number.
        let pid = self.0.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

async fn relay(
    from: Option<impl AsyncRead + Unpin>,
    stream: Stream,
    replies: &Replies,
) -> io::Result<()> {
    let Some(from) = from else { return Ok(()) };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).await? > 0 {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let line_text = String::from_utf8_lossy(text).into_owned();
        replies
            .send(Event::Output {
                stream,
                line: line_text,
            })
            .await;
        line.clear();
    }
    Ok(())
}
