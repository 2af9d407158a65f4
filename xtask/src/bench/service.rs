//! The real worker: how fast it is ready, streams and answers, and how much memory it took.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::http::{Connection, Events};
use super::process;
use super::weights::Kept;
use crate::say;

/// A prompt of sixteen tokens: the vocabulary of the models has no merges.
const PROMPT: &str = "measure a prompt";
/// Between two questions after the health of a busy worker.
const PULSE: Duration = Duration::from_millis(5);

/// A worker that is ready, until dropped.
pub struct Service {
    child: Child,
    pub address: SocketAddr,
    /// From its start until it was ready.
    pub load: Duration,
}

/// How fast an answer came.
#[derive(Debug, Clone, Copy)]
pub struct Speed {
    /// Tokens per second between the first and the last, on the client's clock.
    pub client: f64,
    /// The same by the `end` event.
    pub worker: f64,
}

impl Service {
    /// Starts the worker and waits until it is ready.
    pub fn start(
        program: &Path,
        model: &Path,
        kept: Kept,
        device: &str,
        context: usize,
        slots: usize,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.arg("--model-dir").arg(model);
        command.args(["--listen", "127.0.0.1:0", "--device", device]);
        command.args(["--context", &context.to_string()]);
        command.args(["--slots", &slots.to_string()]);
        if kept == Kept::Q8_0 {
            command.args(["--quantize", "q8_0"]);
        }
        command.env("RUST_LOG", "info");
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let start = Instant::now();
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let log = child.stderr.take().context("no pipe from the worker")?;
        let mut service = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            load: Duration::ZERO,
        };
        service.address = address(BufReader::new(log))?;
        let mut connection = Connection::open(service.address)?;
        while connection.get("/ready")?.0 != 200 {
            if let Some(status) = service.child.try_wait()? {
                bail!("the worker ended: {status}");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        service.load = start.elapsed();
        Ok(service)
    }

    /// What `/health` says.
    fn health(&self) -> anyhow::Result<Value> {
        let (_, body) = Connection::open(self.address)?.get("/health")?;
        serde_json::from_str(&body).context("/health")
    }

    /// Bytes of weights, and of keys and values, by its own count.
    pub fn kept(&self) -> anyhow::Result<f64> {
        let health = self.health()?;
        let bytes = |name: &str| health["memory"][name].as_f64();
        let kept = bytes("weights").zip(bytes("kv"));
        let (weights, kv) = kept.context("/health names no memory")?;
        Ok(weights + kv)
    }

    /// The most memory that the process ever had, in bytes; none where the system does not tell.
    pub fn peak(&self) -> Option<u64> {
        process::peak(self.child.id())
    }

    /// Streams one answer.
    pub fn stream(&self, tokens: usize) -> anyhow::Result<Speed> {
        let mut times = Vec::with_capacity(tokens);
        for event in Events::post(self.address, "/execute", &request("alone", tokens))? {
            let event = event?;
            match event["type"].as_str() {
                Some("token") => times.push(Instant::now()),
                Some("error") => bail!("the stream ended with {event}"),
                Some("end") => return speed(&times, &event, tokens),
                _ => {}
            }
        }
        bail!("the stream ended without an end")
    }

    /// How long `/health` takes while every slot decodes: milliseconds, sorted.
    pub fn health_under_load(&self, slots: usize, time: Duration) -> anyhow::Result<Vec<f64>> {
        // More than the time allows; whoever leaves cancels.
        const TOKENS: usize = 1500;
        let (running, started) = mpsc::channel();
        let (stop, asked) = mpsc::channel::<()>();
        std::thread::scope(|scope| {
            let mut stops = vec![stop];
            let mut ends = vec![asked];
            for _ in 1..slots {
                let (stop, asked) = mpsc::channel();
                stops.push(stop);
                ends.push(asked);
            }
            for (slot, asked) in ends.into_iter().enumerate() {
                let running = running.clone();
                let request = request(&format!("load-{slot}"), TOKENS);
                scope.spawn(move || {
                    let result = self.keep_busy(&request, &running, &asked);
                    if let Err(error) = result {
                        let _ = running.send(Err(error));
                    }
                });
            }
            for _ in 0..slots {
                started.recv()??;
            }
            let mut connection = Connection::open(self.address)?;
            let mut taken = Vec::new();
            let end = Instant::now() + time;
            while Instant::now() < end {
                let start = Instant::now();
                connection.get("/health")?;
                taken.push(start.elapsed().as_secs_f64() * 1e3);
                std::thread::sleep(PULSE);
            }
            let health: Value = serde_json::from_str(&connection.get("/health")?.1)?;
            let busy = health["slots"]["busy"].as_u64();
            drop(stops);
            if busy != Some(slots as u64) {
                bail!(
                    "only {busy:?} of {slots} slots were busy to the end: the answers were too short"
                );
            }
            taken.sort_by(f64::total_cmp);
            Ok(taken)
        })
    }

    /// Reads one answer until told to leave, and says when its first token came.
    fn keep_busy(
        &self,
        request: &Value,
        running: &mpsc::Sender<anyhow::Result<()>>,
        asked: &mpsc::Receiver<()>,
    ) -> anyhow::Result<()> {
        let mut told = false;
        for event in Events::post(self.address, "/execute", request)? {
            let event = event?;
            if event["type"] == "error" {
                bail!("the stream ended with {event}");
            }
            if event["type"] == "token" && !told {
                told = true;
                running.send(Ok(()))?;
            }
            if asked.try_recv() == Err(mpsc::TryRecvError::Disconnected) {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(job_id: &str, tokens: usize) -> Value {
    json!({ "job_id": job_id, "prompt": PROMPT, "max_tokens": tokens, "temperature": 0 })
}

/// Reads the log until it names the address, and on in the background so that the worker never waits; what went wrong
/// later is shown.
fn address(mut log: impl BufRead + Send + 'static) -> anyhow::Result<SocketAddr> {
    let mut all = String::new();
    loop {
        let mut line = String::new();
        if log.read_line(&mut line)? == 0 {
            bail!(
                "the worker ended: {}",
                all.lines().next().unwrap_or_default()
            );
        }
        if let Some((_, rest)) = line.split_once("address=") {
            let word = rest.split_whitespace().next().unwrap_or_default();
            let address = word.parse().with_context(|| format!("the address {word}"));
            std::thread::spawn(move || {
                let rest = log.lines().map_while(Result::ok);
                for line in rest.filter(|line| line.to_lowercase().contains("error")) {
                    say(&format!("worker: {line}"));
                }
            });
            return address;
        }
        all.push_str(&line);
    }
}

fn speed(times: &[Instant], end: &Value, tokens: usize) -> anyhow::Result<Speed> {
    let number = |name: &str| {
        end[name]
            .as_f64()
            .with_context(|| format!("{end} has no {name}"))
    };
    if number("tokens_out")? as usize != tokens {
        bail!("the answer ended early: {end}");
    }
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        bail!("the answer has no tokens");
    };
    // Of random tokens a few are parts of a character, whose text comes with a later one.
    if times.len() + tokens.div_ceil(16) < tokens {
        bail!("{} pieces of text for {tokens} tokens", times.len());
    }
    let after_first = tokens.saturating_sub(1) as f64;
    Ok(Speed {
        client: after_first / (*last - *first).as_secs_f64(),
        worker: after_first / (number("decode_time_ms")? / 1e3),
    })
}

/// The value that a share of all does not exceed; of sorted values.
pub fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1).min(last)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(100.0));
        assert_eq!(percentile(&values, 0.99), Some(198.0));
        assert_eq!(percentile(&values[..1], 0.99), Some(1.0));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn an_answer_that_ended_early_has_no_speed() {
        let times = [Instant::now(); 3];
        let end = json!({ "tokens_out": 3, "decode_time_ms": 20 });
        assert!(speed(&times, &end, 4).is_err());
        assert!(speed(&times[..1], &end, 3).is_err());
        let speed = speed(&times, &end, 3).unwrap();
        assert!((speed.worker - 100.0).abs() < 1e-9);
    }

    #[test]
    fn the_address_is_found_in_the_log() {
        let log = "starting\n INFO listening address=127.0.0.1:4321 worker_id=worker\nmore\n";
        assert_eq!(address(log.as_bytes()).unwrap().port(), 4321);
        let error = address("error: no such folder\n".as_bytes()).unwrap_err();
        assert!(error.to_string().contains("no such folder"), "{error}");
    }
}
