//! What a shell offers at the press of Tab: the command line, and the names that the fleet file has.
//!
//! The shell's script, which `rbee completions` prints, calls `rbee` with `VARIABLE` and the words typed so far. A completion asks no
//! pool and says nothing of what is wrong: where there is no fleet file, or one with mistakes, no names are offered.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::{Arg, CommandFactory};
use clap_complete::env::Shells;
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate, Shell};
use pool_core::address::WorkerAddress;
use reconciler::resolve::{Known, resolve};

use crate::cli::Cli;
use crate::commands::hive_commands;
use crate::exit::Exit;
use crate::fleet_file::FleetFile;

/// Set by the shell's script, to the shell's name.
const VARIABLE: &str = "RBEE_COMPLETE";

/// Answers a shell that asks; `None` where none does.
pub fn answer() -> Option<Exit> {
    let asked = CompleteEnv::with_factory(command)
        .var(VARIABLE)
        .try_complete(std::env::args_os(), std::env::current_dir().ok().as_deref());
    match asked {
        Ok(false) => None,
        Ok(true) => Some(Exit::DONE),
        Err(_) => Some(Exit::ERROR),
    }
}

/// The script that makes a shell ask.
pub fn script(shell: Shell) -> std::io::Result<String> {
    let mut text = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&shell.to_string()) {
        shell.write_registration(VARIABLE, "rbee", "rbee", "rbee", &mut text)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The command line with what `rbee pool` leaves to the hive spelled out.
fn command() -> clap::Command {
    let pool = Arg::new("pool").long("pool").global(true);
    Cli::command().mut_subcommand("pool", |command| {
        command
            .arg(pool.value_name("NAME").add(pools()))
            .subcommands(hive_commands())
    })
}

/// The pools of the fleet file.
pub fn pools() -> ArgValueCompleter {
    names(|file, _| file.fleet.pools.keys().map(ToString::to_string).collect())
}

/// The models of the fleet file.
pub fn models() -> ArgValueCompleter {
    names(|file, _| file.fleet.models.keys().map(ToString::to_string).collect())
}

/// The models of the fleet file that are of the hub.
pub fn hub_models() -> ArgValueCompleter {
    names(|file, _| file.hub_models().map(|(id, _)| id.to_string()).collect())
}

/// The workers of the fleet file, by name, and by address once a `/` is typed.
pub fn workers() -> ArgValueCompleter {
    names(|file, typed| {
        let Ok(desired) = resolve(&file.fleet, &Known::default()) else {
            return BTreeSet::new();
        };
        let name = if typed.contains('/') {
            WorkerAddress::to_string
        } else {
            WorkerAddress::label
        };
        let workers = desired.pools.values().flat_map(|pool| pool.workers.keys());
        workers.map(name).collect()
    })
}

fn names(of: fn(&FleetFile, typed: &str) -> BTreeSet<String>) -> ArgValueCompleter {
    ArgValueCompleter::new(move |typed: &OsStr| {
        // What comes before `--` is the script's, what comes after it is typed.
        let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
        let typed = typed.to_string_lossy();
        let file = FleetFile::load(file(words).as_deref());
        let names = file.map(|file| of(&file, &typed)).unwrap_or_default();
        let fitting = names.into_iter().filter(|name| name.starts_with(&*typed));
        fitting.map(CompletionCandidate::new).collect()
    })
}

/// The fleet file that the typed words name.
fn file(typed: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let mut typed = typed.filter_map(|word| word.into_string().ok());
    while let Some(word) = typed.next() {
        let value = match word.as_str() {
            // bash takes `--file=FILE` for three words.
            "-f" | "--file" => typed.find(|word| word != "="),
            word => word
                .strip_prefix("--file=")
                .or(word.strip_prefix("-f"))
                .map(str::to_owned),
        };
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            return Some(at_home(&value));
        }
    }
    None
}

/// The shell leaves `~` as it was typed.
fn at_home(path: &str) -> PathBuf {
    match (path.strip_prefix("~/"), std::env::var_os("HOME")) {
        (Some(rest), Some(home)) => [home.as_os_str(), OsStr::new(rest)].iter().collect(),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_file_is_the_one_that_was_typed() {
        let named = |words: &str| file(words.split(' ').map(OsString::from));
        for words in [
            "rbee -f a.yaml infer",
            "rbee infer -fa.yaml --model",
            "rbee --file a.yaml",
            "rbee --file=a.yaml",
            "rbee --file = a.yaml",
        ] {
            assert_eq!(named(words), Some("a.yaml".into()), "{words}");
        }
        for words in ["rbee infer --model", "rbee -f", "rbee --file="] {
            assert_eq!(named(words), None, "{words}");
        }
    }
}
