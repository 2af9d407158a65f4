//! `rbee-hive`: exit codes and the last word of an error.

use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind, Write as _};
use std::panic::resume_unwind;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use futures::future::select_all;
use hive::Hive;
use hive::cli::{self, Cli, Command};
use hive::error::Result;
use hive::rpc;
use hive::services::become_program;
use pool_core::machine::ignores_hangup;
use pool_core::rpc::HiveError;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::timeout;

const USAGE: u8 = 64;
const INTERRUPTED: u8 = 130;

/// For what is interrupted to let go of what it has.
const GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let cli = match Cli::rpc(&arguments).map_or_else(Cli::try_parse, Ok) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if let Command::Launch { program, arguments } = &cli.command {
        let error = become_program(program, arguments);
        say(&format!(
            "error: cannot start {}: {error}",
            program.display()
        ));
        return ExitCode::FAILURE;
    }
    if let Command::Rpc { home } = &cli.command {
        speak_for_the_operator(home.as_deref());
        if let Some(code) = look() {
            return code;
        }
    }
    let code = match tokio::runtime::Runtime::new() {
        Ok(runtime) => {
            let code = runtime.block_on(run(cli));
            // Without waiting for the thread that still reads stdin.
            runtime.shutdown_background();
            code
        }
        Err(error) => {
            say(&format!("error: cannot start: {error}"));
            1
        }
    };
    ExitCode::from(code)
}

/// The hub is asked as the operator, whose token comes with the call: not with one of this pool, for this process and for all
/// that it starts.
#[allow(
    unsafe_code,
    reason = "the environment is changed before there are threads"
)]
fn speak_for_the_operator(home: Option<&OsStr>) {
    // SAFETY: called first of all in `main`, when nothing else can read the environment.
    unsafe {
        if let Some(home) = home {
            std::env::set_var("RBEE_HOME", home);
        }
        std::env::set_var("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1");
        std::env::remove_var("HF_TOKEN");
    }
}

/// None where more is asked than to look.
fn look() -> Option<ExitCode> {
    let hive = match Hive::from_env() {
        Ok(hive) => hive,
        Err(error) => {
            report(&error);
            return Some(ExitCode::FAILURE);
        }
    };
    match rpc::look(&hive) {
        Ok(true) => None,
        Ok(false) => Some(ExitCode::SUCCESS),
        // Nobody listens any more, which is the other way to end a connection.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Some(ExitCode::SUCCESS),
        Err(error) => {
            say(&format!("error: the connection broke: {error}"));
            Some(ExitCode::FAILURE)
        }
    }
}

async fn run(cli: Cli) -> u8 {
    // Listening comes first: whoever sees a worker start may interrupt.
    let mut signals = match listen() {
        Ok(signals) => signals,
        Err(error) => {
            say(&format!("error: cannot listen for signals: {error}"));
            return 1;
        }
    };
    let mut work = JoinSet::new();
    let result = tokio::select! {
        biased;
        _ = select_all(signals.iter_mut().map(|it| Box::pin(it.recv()))) => None,
        result = carry_out(cli, &mut work) => Some(result),
    };
    match result {
        Some(Ok(())) => 0,
        Some(Err(error)) => {
            report(&error);
            1
        }
        None => {
            // What it started ends with it, unless it keeps its thread busy.
            let _ = timeout(GRACE, work.shutdown()).await;
            say(
                "interrupted: content that came is kept; a worker that is starting or stopping goes on, see `rbee-hive worker list`",
            );
            INTERRUPTED
        }
    }
}

/// For Ctrl-C, SIGTERM and the end of the terminal, which is not to end the work under nohup.
fn listen() -> io::Result<Vec<Signal>> {
    let mut kinds = vec![SignalKind::interrupt(), SignalKind::terminate()];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if !ignores_hangup(&status) {
        kinds.push(SignalKind::hangup());
    }
    kinds.into_iter().map(signal).collect()
}

/// On its own, so that work which keeps its thread busy can be interrupted too.
async fn carry_out(cli: Cli, work: &mut JoinSet<Result<()>>) -> Result<()> {
    let hive = Hive::from_env()?;
    work.spawn(async move { cli::run(&hive, cli).await });
    match work.join_next().await {
        Some(Err(failed)) => resume_unwind(failed.into_panic()),
        Some(Ok(result)) => result,
        None => Ok(()),
    }
}

fn report(error: &HiveError) {
    say(&format!("error: {}", error.message));
    if let Some(help) = &error.help {
        say(&format!("help: {help}"));
    }
}

/// To whoever still listens.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
