//! The binary: command line, signals, exit codes.

use std::fs::DirBuilder;
use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use http_front::KeyValue;
use http_front::traces::Traces;
use orchestrator::args::{Args, Command};
use orchestrator::check;
use orchestrator::daemon::serve::{ServeError, bind, run};
use orchestrator::daemon::{Keys, Orchestrator, Rules, Settings};
use orchestrator::metrics::Metrics;
use orchestrator::sim;
use orchestrator::store::{self, Store};
use orchestrator::tenants::ApiKey;
use pool_core::orchestrator::StoreKind;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// As in `sysexits.h`.
const USAGE: u8 = 64;

/// How long the last spans may take to be sent.
const LAST_SPANS: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    match &args.command {
        Some(Command::Keygen) => return keygen(),
        Some(Command::Check(args)) => return ended(check::check(args)),
        Some(Command::Sim(args)) => return sim::main(args),
        None => {}
    }
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A log that nobody takes any more must not end the daemon.
        .log_internal_errors(false)
        .with_writer(std::io::stderr)
        .init();
    ended(serve(args))
}

/// Says what failed, and what to do about it.
fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let help = error.downcast_ref::<ServeError>();
            let help = help.and_then(ServeError::help);
            let help = help.map(|help| format!("\nhelp: {help}"));
            let _ = writeln!(
                std::io::stderr(),
                "error: {error:#}{}",
                help.unwrap_or_default()
            );
            ExitCode::FAILURE
        }
    }
}

/// Shows a new key, this once, and what the file of tenants needs of it.
fn keygen() -> ExitCode {
    let made = ApiKey::generate().map_err(|error| error.to_string());
    let shown = made.and_then(|key| {
        let (text, digest) = (key.text(), key.digest());
        writeln!(std::io::stdout(), "key:    {text}\nsha256: {digest}")
            .map_err(|error| error.to_string())
    });
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: no key could be made: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: Args) -> anyhow::Result<()> {
    let keys = Keys::open(
        args.token_file.as_deref(),
        args.link_file.as_deref(),
        args.tenants.as_deref(),
    );
    let keys = Arc::new(keys.map_err(ServeError::from)?);
    let metrics = Arc::new(Metrics::default());
    let rules = args.policy.as_deref();
    let rules = rules.map(|path| Rules::open(path, Arc::clone(&metrics)));
    let rules = rules.transpose().map_err(ServeError::from)?;
    let kind = match (args.store, &args.home) {
        (StoreKind::Sqlite, Some(home)) => store::Kind::Sqlite(home.join("tasks.sqlite")),
        _ => store::Kind::Memory,
    };
    if let Some(home) = &args.home {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(home)
            .with_context(|| format!("cannot make {}", home.display()))?;
    }
    let store = Store::open(&kind, store::Limits::default()).map_err(ServeError::from)?;
    let fleet = args.fleet.as_ref();
    let about = fleet.map(|fleet| KeyValue::new("service.namespace", fleet.to_string()));
    let traces = Traces::open("orchestratord", about, args.traces.as_ref())?;
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let listener = bind(args.listen, keys.are_asked())?;
        let address = listener.local_addr()?;
        let settings = Settings {
            config: args.config(),
            limits: args.limits(),
            fleet: args.fleet,
            traces: traces.clone(),
        };
        let orchestrator = Orchestrator::new(settings, store, keys, rules, metrics);
        tracing::info!(%address, "listening");
        let shutdown = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        run(listener, Arc::clone(&orchestrator), args.workers, shutdown).await?;
        Ok(())
    });
    runtime.shutdown_background();
    traces.close(LAST_SPANS);
    result
}
