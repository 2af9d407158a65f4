//! The operator's side of `rbee-hive rpc`: one call after another.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// Starts the hive's first line.
const GREETING: &str = "rbee-hive-rpc ";

/// A hive that answers calls, until dropped.
pub struct Connection {
    child: Child,
    calls: ChildStdin,
    replies: BufReader<ChildStdout>,
    last: u64,
}

impl Connection {
    pub fn open(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run rbee-hive")?;
        let (Some(calls), Some(replies)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("no pipe to rbee-hive");
        };
        let mut connection = Self {
            child,
            calls,
            replies: BufReader::new(replies),
            last: 0,
        };
        while !connection.line()?.starts_with(GREETING) {}
        Ok(connection)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks, and returns what the call came to; one that serves has come to that once it does.
    pub fn call(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last += 1;
        let mut call = json!({ "id": self.last, "method": method });
        if !params.is_null() {
            call["params"] = params;
        }
        writeln!(self.calls, "{call}")?;
        loop {
            let line = self.line().with_context(|| format!("`{method}`"))?;
            let mut reply: Value = serde_json::from_str(&line)?;
            if reply["id"] != self.last {
                bail!("`{method}`: another call is answered: {line}");
            }
            match reply["event"].as_str() {
                Some("progress") => {}
                Some("serving") => return Ok(reply["data"].take()),
                Some("done") => return Ok(reply["data"]["value"].take()),
                _ => bail!("`{method}`: {}", reply["data"]["message"]),
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.replies.read_line(&mut line)? == 0 {
            bail!("rbee-hive ended: {}", self.child.wait()?);
        }
        Ok(line)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
