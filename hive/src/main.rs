//! `rbee-hive`: exit codes and the last word of an error.

use std::io::{ErrorKind, Write as _};
use std::panic::resume_unwind;
use std::process::ExitCode;

use clap::Parser as _;
use hive::Hive;
use hive::cli::{self, Cli, Command};
use hive::rpc;
use hive::workers::become_worker;
use pool_core::rpc::HiveError;

const USAGE: u8 = 64;
const INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    // What a plan starts on every pool does not wait for all that the command line could say.
    let is_rpc = std::env::args_os().skip(1).eq(["rpc"]);
    let parsed = if is_rpc {
        Ok(Cli::RPC)
    } else {
        Cli::try_parse()
    };
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    if let Command::Launch { program, arguments } = &cli.command {
        let error = become_worker(program, arguments);
        say(&format!(
            "error: cannot start {}: {error}",
            program.display()
        ));
        return ExitCode::FAILURE;
    }
    if let Command::Rpc = cli.command
        && let Some(code) = look()
    {
        return code;
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
    // On its own, so that work which keeps its thread busy can be interrupted too.
    let work = async {
        let hive = Hive::from_env()?;
        let done = tokio::spawn(async move { cli::run(&hive, cli).await });
        done.await
            .unwrap_or_else(|failed| resume_unwind(failed.into_panic()))
    };
    tokio::select! {
        // Listening comes first: whoever sees a worker start may interrupt.
        biased;
        _ = tokio::signal::ctrl_c() => {
            say("interrupted: content that came is kept; a worker that is starting or stopping goes on, see `rbee-hive worker list`");
            INTERRUPTED
        }
        result = work => match result {
            Ok(()) => 0,
            Err(error) => {
                report(&error);
                1
            }
        },
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
    let _ = writeln!(std::io::stderr(), "{text}");
}
