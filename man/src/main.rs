//! `rbee-man FOLDER` writes a manual page for every command of every program, from what their command lines are parsed with.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use jiff::Timestamp;

fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os().nth(1).context("rbee-man FOLDER")?;
    let folder = PathBuf::from(folder);
    let failed = || format!("cannot write to {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(failed)?;
    for program in [
        keeper::cli::Cli::command(),
        hive::cli::Cli::command(),
        worker::args::command(),
        orchestrator::args::Args::command(),
    ] {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        write(&program, &folder).with_context(failed)?;
    }
    Ok(())
}

/// The page of a command, and those of the commands below it.
fn write(command: &Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write(below, folder)?;
    }
    Man::new(command.clone())
        .date(Timestamp::now().strftime("%Y-%m-%d").to_string())
        .source(format!("rbee {}", pool_core::VERSION))
        .manual("rbee")
        .generate_to(folder)?;
    Ok(())
}
