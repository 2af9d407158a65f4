//! Mock workers of `examples/mock-worker`, and its client.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, ensure};
use serde_json::Value;

use super::Programs;
use crate::bench::timed;

/// Processes, each a worker.
const WORKERS: usize = 2;
/// What sglang-router adds to every request, whatever its client said.
const SGLANG: &str = "continue_final_message,ignore_eos,no_stop_trim,return_hidden_states,separate_reasoning,\
                      skip_special_tokens,stream_reasoning";
/// Slots of each: nobody waits for one.
const SLOTS: usize = 100_000;

/// Workers of one pace, until dropped.
pub struct Workers<'a> {
    programs: &'a Programs,
    children: Vec<Child>,
    pub addresses: Vec<SocketAddr>,
}

impl<'a> Workers<'a> {
    /// Starts them; `rate` is tokens a second of each stream, 0 for as fast as they are taken.
    pub fn start(programs: &'a Programs, rate: f64) -> anyhow::Result<Self> {
        Self::of(programs, WORKERS, SLOTS, rate)
    }

    /// So many, of so many slots each.
    pub fn of(
        programs: &'a Programs,
        count: usize,
        slots: usize,
        rate: f64,
    ) -> anyhow::Result<Self> {
        let mut workers = Self {
            programs,
            children: Vec::new(),
            addresses: Vec::new(),
        };
        for number in 0..count {
            let mut child = Command::new(&programs.worker)
                .args(["--slots", &slots.to_string(), "--context", "1000000"])
                .args(["--worker-id", &format!("mock-{number}")])
                .args(["--ignored-fields", SGLANG])
                .args(["--rate", &rate.to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {}", programs.worker.display()))?;
            let stdout = child.stdout.take().context("no pipe from the worker")?;
            workers.children.push(child);
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line)?;
            let address = line
                .trim()
                .strip_prefix("http://")
                .context("the worker does not start")?;
            workers.addresses.push(address.parse()?);
        }
        Ok(workers)
    }

    /// Runs the client at a program, or at the workers themselves; it tells as JSON what came.
    pub fn load(
        &self,
        addresses: &[SocketAddr],
        tokens: u64,
        how: &[String],
    ) -> anyhow::Result<Value> {
        let mut load = Command::new(&self.programs.load);
        for address in addresses {
            load.args(["--address", &address.to_string()]);
        }
        load.args(["--tokens", &tokens.to_string()]).args(how);
        let taken = timed::run(&mut load, "")?;
        serde_json::from_str(&taken.said).context("what the client says")
    }

    /// So many requests a second for so many seconds.
    pub fn open(
        &self,
        addresses: &[SocketAddr],
        tokens: u64,
        rate: f64,
        seconds: f64,
    ) -> anyhow::Result<Value> {
        let (rate, seconds) = (rate.to_string(), seconds.to_string());
        let how = ["open", "--rate", &rate, "--seconds", &seconds].map(str::to_owned);
        self.load(addresses, tokens, &how)
    }

    /// So many streams at the same time, again and again for so many seconds.
    pub fn closed(
        &self,
        addresses: &[SocketAddr],
        tokens: u64,
        streams: usize,
        seconds: Option<f64>,
    ) -> anyhow::Result<Value> {
        let mut how = vec![
            "closed".to_owned(),
            "--streams".to_owned(),
            streams.to_string(),
        ];
        if let Some(seconds) = seconds {
            how.extend(["--seconds".to_owned(), seconds.to_string()]);
        }
        self.load(addresses, tokens, &how)
    }
}

impl Drop for Workers<'_> {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A number that the client told.
pub fn number(told: &Value, pointer: &str) -> anyhow::Result<f64> {
    let number = told.pointer(pointer).and_then(Value::as_f64);
    number.with_context(|| format!("no {pointer} in {told}"))
}

/// Every stream that was asked for came whole.
pub fn whole(told: &Value) -> anyhow::Result<()> {
    let (asked, ended) = (number(told, "/asked")?, number(told, "/ended")?);
    ensure!(ended >= asked && asked > 0.0, "streams were lost: {told}");
    Ok(())
}
