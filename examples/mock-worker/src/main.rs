//! `mock-worker`: a worker without a model.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use mock_worker::{Faults, MockWorker, Settings};
use pool_core::device::Device;
use pool_core::name::{ModelId, WorkerId};
use tokio::signal::unix::{SignalKind, signal};

/// Serve the worker's HTTP without a model, at a set pace, with faults on request.
///
/// Prints its address on stdout, and serves until SIGTERM or POST /shutdown.
#[derive(Debug, Parser)]
#[command(name = "mock-worker")]
struct Args {
    /// Name of this worker
    #[arg(long, default_value = "mock")]
    worker_id: WorkerId,
    /// Name that clients use for the model
    #[arg(long, default_value = "mock")]
    model: ModelId,
    /// What it claims to compute on
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Answers at the same time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    slots: u32,
    /// Requests that may wait for a slot
    #[arg(long, default_value_t = 64)]
    waiting: usize,
    /// Most tokens of prompt and answer together
    #[arg(long, default_value_t = 4096)]
    context: u64,
    /// Tokens a second of each answer; 0 for as fast as they are taken
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Milliseconds from a slot to the first token
    #[arg(long, default_value_t = 0, value_name = "MS")]
    first_token_ms: u64,
    /// Bytes of a token's text
    #[arg(long, default_value_t = 4)]
    token_bytes: usize,
    /// Tokens of an answer whose request does not say
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..))]
    answer: u64,
    /// Fields that requests under /v1/ may have and that say nothing
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    ignored_fields: Vec<String>,
    /// File with the token that clients have to show
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// What is wrong from the start, as `PUT /faults` takes it
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = faults)]
    faults: Faults,
}

fn faults(json: &str) -> Result<Faults, serde_json::Error> {
    serde_json::from_str(json)
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let token = match args.token_file {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(&path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            Some(text.trim().to_owned())
        }
    };
    let worker = Arc::new(MockWorker::start(Settings {
        device: args.device,
        listen: args.listen,
        slots: args.slots,
        waiting: args.waiting,
        context: args.context,
        rate: args.rate,
        first_token: Duration::from_millis(args.first_token_ms),
        token_bytes: args.token_bytes,
        answer: args.answer,
        ignored_fields: args.ignored_fields,
        token,
        faults: args.faults,
        ..Settings::new(args.worker_id, args.model)
    })?);
    drain_on_signals(Arc::clone(&worker))?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}", worker.url())?;
    stdout.flush()?;
    worker.wait();
    Ok(())
}

/// The thread that waits for signals ends with the program.
fn drain_on_signals(worker: Arc<MockWorker>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        )
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        worker.drain();
    });
    Ok(())
}
