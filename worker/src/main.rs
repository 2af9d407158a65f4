//! The binary: command line, signals, exit codes.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use pool_core::launch::WorkerLaunch;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use worker::server::{Settings, WorkerError, bind, run};
use worker::tokens::{self, Tokens};

/// As in `sysexits.h`.
const USAGE: u8 = 64;

fn main() -> ExitCode {
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
    let settings = Settings {
        tokens: tokens.map_err(WorkerError::from)?,
        ..Settings::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = bind(launch.listen, &settings.tokens).await?;
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
    result
}
