//! `rbee init`

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::Path;

use pool_core::name::{FleetName, PoolName};

use crate::cli::{Global, Init};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file;
use crate::terminal::Terminal;

/// Writes a fleet of this machine alone, and never over an existing file.
pub fn run(global: &Global, args: &Init, terminal: Terminal) -> Result<Exit, Failure> {
    let path = global
        .file
        .clone()
        .unwrap_or_else(|| fleet_file::NAME.into());
    let text = of_this_machine(args.fleet.as_deref(), args.pool.as_deref())?;
    write(&path, &text)?;
    if global.json {
        terminal.data(&super::json(
            &serde_json::json!({ "version": 1, "written": path }),
        )?);
    } else {
        terminal.data(&format!(
            "Wrote {}. Name a model and a worker in it; `rbee plan` then shows what would be done.\n",
            path.display()
        ));
    }
    Ok(Exit::DONE)
}

/// A fleet of this machine alone, called after the folder and the host where no names are given.
pub(super) fn of_this_machine(fleet: Option<&str>, pool: Option<&str>) -> Result<String, Failure> {
    let fleet: FleetName = match fleet {
        Some(name) => name
            .parse()
            .map_err(|error| Failure::new(format!("{error}")).exit(Exit::USAGE))?,
        None => folder_name()
            .unwrap_or_else(|| "home".into())
            .parse()
            .map_err(|error| Failure::new(format!("{error}")))?,
    };
    let pool: PoolName = match pool {
        Some(name) => name
            .parse()
            .map_err(|error| Failure::new(format!("{error}")).exit(Exit::USAGE))?,
        None => host_name()
            .unwrap_or_else(|| "here".into())
            .parse()
            .map_err(|error| Failure::new(format!("{error}")))?,
    };
    Ok(text(&fleet, &pool))
}

/// Never over an existing file.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let place = path.display().to_string();
    match File::create_new(path) {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .and_then(|()| file.sync_all())
            .map_err(|error| {
                // Half a file would be taken for a fleet.
                let _ = std::fs::remove_file(path);
                Failure::new(format!("cannot write: {error}")).at(place)
            }),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            Err(Failure::new("there is a fleet file already")
                .at(place)
                .help("`-f FILE` writes another one"))
        }
        Err(error) => Err(Failure::new(format!("cannot write: {error}")).at(place)),
    }
}

/// The name of the working folder, as far as it can name a fleet.
fn folder_name() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    as_name(here.file_name()?.to_str()?)
}

fn host_name() -> Option<String> {
    let system = rustix::system::uname();
    as_name(system.nodename().to_str().ok()?.split('.').next()?)
}

fn as_name(text: &str) -> Option<String> {
    let word: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        })
        .take(63)
        .collect();
    let word = word.trim_matches('-');
    (!word.is_empty()).then(|| word.to_owned())
}

fn text(fleet: &FleetName, pool: &PoolName) -> String {
    format!(
        "\
# What this fleet should be. `rbee plan` shows what would change, `rbee apply` changes it.
# `rbee schema` prints the JSON Schema of this file for your editor.
version: 1
fleet: {fleet}

# The machines. `local` is the one that runs rbee; the others are reached by the system's ssh.
pools:
  {pool}: {{ connect: local, devices: [cpu] }}
  # mac: {{ connect: ssh://me@mac.home.arpa, devices: [cpu] }}

# The models: a repository of the Hugging Face hub, or a folder in its layout, relative to this file.
# models:
#   tiny: {{ source: ./models/tiny-llama }}
#   qwen: {{ source: hf:Qwen/Qwen2.5-0.5B-Instruct }}

# The workers: which model, on which devices.
# workers:
#   chat: {{ model: tiny, on: [{pool}/cpu] }}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_init_writes_is_a_fleet() {
        let text = text(&"home".parse().unwrap(), &"box.lan".parse().unwrap());
        let fleet =
            reconciler::fleet::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(fleet.pools.len(), 1);
        let uncommented = text
            .replace("\n# models", "\nmodels")
            .replace("\n# workers", "\nworkers");
        let uncommented = uncommented
            .replace("\n#   ", "\n  ")
            .replace("\n  # mac", "\n  mac");
        let fleet = reconciler::fleet::parse(&uncommented)
            .unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert_eq!(
            (fleet.pools.len(), fleet.models.len(), fleet.workers.len()),
            (2, 2, 1)
        );
    }

    #[test]
    fn a_name_is_made_of_what_a_folder_is_called() {
        assert_eq!(as_name("My Fleet!").as_deref(), Some("my-fleet"));
        assert_eq!(as_name("..."), None);
    }
}
