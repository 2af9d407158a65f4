//! One module a command.

mod apply;
mod destroy;
mod drift;
mod import;
mod infer;
mod init;
mod lock;
mod plan;
mod pool;
mod prepare;
mod review;
mod show;
mod status;
mod test;
mod validate;
mod watch;

pub use pool::hive_commands;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{Cli, Command, Global, SchemaOf};
use crate::complete;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::Output;
use crate::progress::event::Event;
use crate::report::schema;
use crate::terminal::Terminal;

/// Runs the command.
pub async fn run(cli: Cli, terminal: Terminal) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    if global.json_stream {
        terminal.event(&Event::VERSION);
        if !streams(&command) {
            return Err(Failure::new("this command has no --json-stream").exit(Exit::USAGE));
        }
    }
    match command {
        Command::Init(args) => init::run(&global, &args, terminal),
        Command::Validate => validate::run(&global, terminal),
        Command::Schema { of } => {
            let schema = match of {
                SchemaOf::Fleet => reconciler::fleet::schema(),
                SchemaOf::Plan => schema::plan(),
                SchemaOf::Stream => schema::stream(),
                SchemaOf::Status => schema::status(),
                SchemaOf::Drift => schema::drift(),
                SchemaOf::Apply => schema::apply(),
                SchemaOf::Test => schema::test(),
                SchemaOf::Error => schema::error(),
            };
            terminal.data(&json(&schema)?);
            Ok(Exit::DONE)
        }
        Command::Lock(args) => lock::run(&global, &args, terminal).await,
        Command::Plan(args) => plan::run(&global, &args, terminal).await,
        Command::Apply(args) => apply::run(&global, &args, terminal).await,
        Command::Show(args) => show::run(&global, &args, terminal),
        Command::Drift(args) => drift::run(&global, &args, terminal).await,
        Command::Status => status::run(&global, terminal).await,
        Command::Destroy(args) => destroy::run(&global, &args, terminal).await,
        Command::Watch(args) => watch::run(&global, &args, terminal).await,
        Command::Import(args) => import::run(&global, &args, terminal).await,
        Command::Infer(args) => infer::run(&global, args, terminal).await,
        Command::Test(args) => test::run(&global, &args, terminal).await,
        Command::Pool(args) => pool::run(&global, &args, terminal).await,
        Command::Completions { shell } => {
            let script = complete::script(shell).map_err(|error| {
                Failure::new(format!("cannot write completions for {shell}: {error}"))
            })?;
            terminal.data(&script);
            Ok(Exit::DONE)
        }
    }
}

/// Whether a command's result can be had as a stream.
fn streams(command: &Command) -> bool {
    !matches!(
        command,
        Command::Init(_)
            | Command::Import(_)
            | Command::Schema { .. }
            | Command::Infer(_)
            | Command::Pool(_)
            | Command::Completions { .. }
    )
}

/// Prints what a command that plans nothing found, in the way that was asked for.
fn result(
    global: &Global,
    terminal: Terminal,
    command: &str,
    exit: Exit,
    document: &impl Serialize,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    match global.output() {
        Output::Text => terminal.data(&text()),
        Output::Json => terminal.data(&json(document)?),
        Output::JsonStream => terminal.event(&Event::Result {
            command,
            exit: exit.0,
            value: value(document)?,
        }),
    }
    Ok(())
}

fn value(document: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(document).map_err(no_json)
}

/// The value as one JSON document, with a line end.
fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(no_json)?;
    Ok(text + "\n")
}

fn no_json(error: serde_json::Error) -> Failure {
    Failure::new(format!("cannot write this as JSON: {error}"))
}
