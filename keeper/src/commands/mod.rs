//! One module a command.

mod apply;
mod destroy;
mod import;
mod infer;
mod init;
mod lock;
mod plan;
mod pool;
mod prepare;
mod review;
mod status;
mod validate;

use clap::CommandFactory;

use crate::cli::{Cli, Command};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(cli: Cli, terminal: Terminal) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Init(args) => init::run(&global, &args, terminal),
        Command::Validate => validate::run(&global, terminal),
        Command::Schema => {
            terminal.data(&json(&reconciler::fleet::schema())?);
            Ok(Exit::DONE)
        }
        Command::Lock(args) => lock::run(&global, &args, terminal).await,
        Command::Plan(args) => plan::run(&global, &args, terminal).await,
        Command::Apply(args) => apply::run(&global, &args, terminal).await,
        Command::Status => status::run(&global, terminal).await,
        Command::Destroy(args) => destroy::run(&global, &args, terminal).await,
        Command::Import(args) => import::run(&global, &args, terminal).await,
        Command::Infer(args) => infer::run(&global, args, terminal).await,
        Command::Pool(args) => pool::run(&global, &args, terminal).await,
        Command::Completions { shell } => {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "rbee", &mut text);
            terminal.data(&String::from_utf8_lossy(&text));
            Ok(Exit::DONE)
        }
    }
}

/// The value as one JSON document, with a line end.
fn json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| Failure::new(format!("cannot write this as JSON: {error}")))
}
