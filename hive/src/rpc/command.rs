//! Any command of `rbee-hive`, with its output line by line.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;

use pool_core::rpc::{Event, Stream};
use pool_core::supply::{HubAccess, Secret};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

use super::Replies;
use crate::Hive;
use crate::error::{Result, io_error};

/// Runs this program with other arguments and returns its exit code. Killed when dropped.
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
    let mut child = Command::new(&hive.exe)
        .args(argv)
        .envs(endpoint.map(|endpoint| ("HF_ENDPOINT", endpoint)))
        .envs(token.map(|token| ("HF_TOKEN", token)))
        .env("RBEE_HOME", hive.home.root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
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
