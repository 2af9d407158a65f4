//! The command line.

mod git;
mod logs;
mod models;
mod orchestrator;
mod progress;
mod status;
mod table;
mod worker;

use std::ffi::OsString;
use std::io::{self, Write};

use clap::{Parser, Subcommand};
use pool_core::rpc::{ErrorCode, HiveError, SILENCE};
use serde::Serialize;
use tokio::io::BufReader;

use crate::error::Result;
use crate::machine::{self, Cards};
use crate::{Hive, rpc};

/// Manages one pool: its models, its workers, what it says of itself.
///
/// All state lies under `$RBEE_HOME`, by default `rbee` in the platform's folder for data.
#[derive(Debug, Parser)]
#[command(name = "rbee-hive", version = pool_core::VERSION)]
pub struct Cli {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The models that the pool knows and has
    #[command(subcommand)]
    Models(models::Command),
    /// The workers of the pool
    #[command(subcommand)]
    Worker(worker::Command),
    /// The orchestrators of the pool
    #[command(subcommand)]
    Orchestrator(orchestrator::Command),
    /// A git checkout of rbee on the pool, to build it from
    #[command(subcommand)]
    Git(git::Command),
    /// Everything at one look: machine, devices, models, workers
    Status,
    /// The devices that a worker can compute on
    Devices,
    /// Speak with `rbee`: calls on stdin, replies on stdout
    Rpc {
        /// In place of `RBEE_HOME`
        #[arg(long, value_name = "FOLDER", allow_hyphen_values = true)]
        home: Option<OsString>,
    },
    /// Become another program in a session of its own
    #[command(hide = true)]
    Launch {
        program: OsString,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

impl Cli {
    /// `rbee-hive rpc [--home FOLDER]`, without all that a command line could say: a plan starts one on every pool.
    pub fn rpc(arguments: &[OsString]) -> Option<Self> {
        let home = match arguments {
            [rpc] if rpc == "rpc" => None,
            [rpc, flag, home] if rpc == "rpc" && flag == "--home" => Some(home.clone()),
            _ => return None,
        };
        Some(Self {
            json: false,
            command: Command::Rpc { home },
        })
    }
}

/// Carries out a command.
pub async fn run(hive: &Hive, cli: Cli) -> Result<()> {
    let output = Output { json: cli.json };
    match cli.command {
        Command::Models(command) => models::run(hive, command, &output).await,
        Command::Worker(command) => worker::run(hive, command, &output).await,
        Command::Orchestrator(command) => orchestrator::run(hive, command, &output).await,
        Command::Git(command) => git::run(hive, command, &output).await,
        Command::Status => status::run(hive, &output).await,
        Command::Devices => {
            let cards = Cards::look().await;
            if let Some(why) = &cards.no_cuda {
                let _ = writeln!(io::stderr(), "warning: {why}");
            }
            let devices = machine::devices(machine::memory(), &cards);
            output.print(&devices, || table::devices(&devices))
        }
        Command::Rpc { .. } => {
            let input = BufReader::with_capacity(256 * 1024, tokio::io::stdin());
            rpc::serve(hive, input, tokio::io::stdout(), SILENCE)
                .await
                .map_err(|e| HiveError {
                    code: ErrorCode::Io,
                    message: format!("the connection broke: {e}"),
                    help: None,
                })
        }
        // Taken up before there are threads.
        Command::Launch { .. } => Ok(()),
    }
}

/// How a command says what it has to say.
struct Output {
    json: bool,
}

impl Output {
    /// One value, as JSON or as text.
    fn print(&self, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<()> {
        let text = if self.json {
            let json = serde_json::to_string_pretty(value).map_err(io::Error::from);
            json.map_err(|e| cannot_print(&e))? + "\n"
        } else {
            text()
        };
        print_bytes(text.as_bytes())
    }
}

/// Whoever stops reading has seen enough: that is no failure.
fn print_bytes(bytes: &[u8]) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(cannot_print(&e)),
        _ => Ok(()),
    }
}

fn cannot_print(error: &io::Error) -> HiveError {
    HiveError {
        code: ErrorCode::Io,
        message: format!("cannot write to stdout: {error}"),
        help: None,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }
}
