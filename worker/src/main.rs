//! The binary: command line, signals, exit codes.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use http_front::KeyValue;
use http_front::tokens::{self, Tokens};
use http_front::traces::{Traces, TracesError};
use pool_core::launch::WorkerLaunch;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use worker::server::{Settings, WorkerError, bind, run};

/// As in `sysexits.h`.
const USAGE: u8 = 64;

/// How long the last spans may take to be sent. A worker that is told to end has not much time.
const LAST_SPANS: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    // SAFETY: nothing was started yet.
    #[allow(unsafe_code, reason = "there is one thread only")]
    unsafe {
        worker::model::order_by_bus();
    }
    let launch = match worker::args::parse(std::env::args_os()) {
        Ok(launch) => launch,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() {
                USAGE.into()
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A log that nobody takes any more must not end the worker.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    match serve(launch) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let help = error
                .downcast_ref::<WorkerError>()
                .map(|error| format!("\nhelp: {}", error.help()));
            let _ = writeln!(
                std::io::stderr(),
                "error: {error:#}{}",
                help.unwrap_or_default()
            );
            ExitCode::FAILURE
        }
    }
}

fn serve(launch: WorkerLaunch) -> anyhow::Result<()> {
    let variable = std::env::var_os(tokens::VARIABLE);
    let variable = variable.as_ref().map(|token| token.to_string_lossy());
    let tokens = Tokens::read(launch.token_file.as_deref(), variable.as_deref());
    let traces = open_traces(&launch)?;
    let settings = Settings {
        tokens: tokens.map_err(WorkerError::from)?,
        traces: traces.clone(),
        ..Settings::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = bind(&launch, &settings.tokens)?;
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        run(listener, launch, settings, shutdown).await?;
        Ok(())
    });
    // A model may still be loading on its thread.
    runtime.shutdown_background();
    traces.close(LAST_SPANS);
    result
}

/// Where spans go, with what tells this worker apart from others.
fn open_traces(launch: &WorkerLaunch) -> Result<Traces, TracesError> {
    let name = match &launch.address {
        Some(address) => address.to_string(),
        None => launch.worker_id.to_string(),
    };
    let fleet = launch.fleet.as_ref();
    let namespace = fleet.map(|fleet| KeyValue::new("service.namespace", fleet.to_string()));
    let about = [
        KeyValue::new("service.instance.id", name),
        KeyValue::new("rbee.device", launch.device.to_string()),
    ];
    let about = about.into_iter().chain(namespace);
    Traces::open("llm-worker-rbee", about, launch.traces.as_ref())
}
