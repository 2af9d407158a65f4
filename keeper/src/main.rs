//! `rbee`, the operator's command.

use std::process::ExitCode;

use clap::Parser;
use keeper::cli::Cli;
use keeper::commands;
use keeper::complete;
use keeper::exit::Exit;
use keeper::failure::Failure;
use keeper::progress::Output;
use keeper::progress::event::Event;
use keeper::terminal::Terminal;

fn main() -> ExitCode {
    if let Some(exit) = complete::answer() {
        return exit.0.into();
    }
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
            if code == Exit::USAGE {
                report_usage(&error);
            }
            return code.0.into();
        }
    };
    let terminal = Terminal::new(cli.global.no_color, cli.global.quiet);
    log(cli.global.verbose, terminal.colour_err);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let output = cli.global.output();
    let exit = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli, terminal)),
        Err(error) => Err(Failure::new(format!("cannot start: {error}"))),
    };
    match exit {
        Ok(exit) => exit.0.into(),
        Err(failure) => {
            terminal.failure(&failure);
            match output {
                Output::Text => {}
                Output::Json => terminal.data(&failure.json()),
                Output::JsonStream => terminal.event(&Event::Error {
                    error: failure.report(),
                }),
            }
            failure.code().0.into()
        }
    }
}

/// Says to programs what is wrong with the command line; clap has said it to people.
fn report_usage(error: &clap::Error) {
    let asks = |flag: &str| std::env::args_os().any(|argument| argument == flag);
    let terminal = Terminal::new(true, true);
    let text = error.render().to_string();
    let what = text.lines().next().unwrap_or_default();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    let failure = Failure::new(what)
        .help("`rbee --help` shows what there is")
        .exit(Exit::USAGE);
    if asks("--json") {
        terminal.data(&failure.json());
    } else if asks("--json-stream") {
        terminal.event(&Event::VERSION);
        terminal.event(&Event::Error {
            error: failure.report(),
        });
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
