//! `rbee`, the operator's command.

use std::process::ExitCode;

use clap::Parser;
use keeper::cli::Cli;
use keeper::commands;
use keeper::exit::Exit;
use keeper::terminal::Terminal;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() {
                Exit::USAGE
            } else {
                Exit::DONE
            };
            // A reader that is gone is no reason for another message.
            let _ = error.print();
            return code.0.into();
        }
    };
    let terminal = Terminal::new(cli.global.no_color, cli.global.quiet);
    log(cli.global.verbose, terminal.colour_err);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli, terminal)),
        Err(error) => Err(keeper::failure::Failure::new(format!(
            "cannot start: {error}"
        ))),
    };
    match exit {
        Ok(exit) => exit.0.into(),
        Err(failure) => {
            terminal.failure(&failure);
            failure.code().0.into()
        }
    }
}

fn log(verbose: u8, colour: bool) {
    let level = match verbose {
        0 => return,
        1 => "keeper=info",
        _ => "trace",
    };
    tracing_subscriber::fmt()
        .with_env_filter(level)
        .with_ansi(colour)
        .with_writer(std::io::stderr)
        .init();
}
