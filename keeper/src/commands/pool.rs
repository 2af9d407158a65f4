//! `rbee pool`: every command of `rbee-hive`, on a pool.

use std::ffi::OsString;

use pool_core::name::PoolName;
use pool_core::rpc::{Event, Outcome, Request, Stream};
use pool_core::supply::HubAccess;

use crate::cli::{Global, Pool};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::pools::{check_home, endpoint};
use crate::terminal::Terminal;
use crate::transport::{Connection, HiveClient, HiveState, advice};

const HELP: &str = "\
Run a command of rbee-hive on a pool

Usage: rbee pool [--pool NAME] COMMAND ...

Commands:
  status                                     The pool, its models and workers
  devices                                    What workers can compute on
  models  catalog|list|register|unregister|download|verify|remove
  worker  spawn|list|stop|stop-all|logs
  orchestrator  status|stop|logs
  git     status|pull|build                  A git checkout there, to build rbee from

--pool may be left out where the fleet has one pool. Everything else goes to rbee-hive as it is:
`rbee pool --pool NAME COMMAND --help` shows its own help. The exit code is that of rbee-hive.
";

/// The commands that `HELP` lists, for shells to offer.
pub fn hive_commands() -> impl Iterator<Item = clap::Command> {
    let listed = HELP.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.map_while(|line| line.strip_prefix("  ")?.split_once(' '));
    listed.map(|(name, below)| {
        let below = below.trim().split('|').filter(|name| !name.contains(' '));
        clap::Command::new(name).subcommands(below.map(clap::Command::new))
    })
}

pub async fn run(global: &Global, args: &Pool, terminal: Terminal) -> Result<Exit, Failure> {
    let (pool, mut argv) = split(&args.args)?;
    if argv.is_empty() || (pool.is_none() && matches!(argv[0].as_str(), "-h" | "--help" | "help")) {
        terminal.data(HELP);
        return Ok(if argv.is_empty() {
            Exit::USAGE
        } else {
            Exit::DONE
        });
    }
    if global.json {
        argv.push("--json".into());
    }
    let file = FleetFile::load(global.file.as_deref())?;
    let name = choose(&file, pool)?;
    let (connection, hive) = open(global, &file, &name).await?;
    let mut words = argv.iter().filter(|word| !word.starts_with('-'));
    let is_of_models = words.next().is_some_and(|word| word == "models");
    // Only what may ask the hub is told the token.
    let access = is_of_models.then(HubAccess::from_env).unwrap_or_default();
    let outcome = hive
        .call(Request::Command { argv, access }, |event| {
            relay(terminal, &name, event);
        })
        .await?;
    hive.close().await;
    connection.close().await;
    match outcome {
        Outcome::Exit(code) => Ok(Exit(u8::try_from(code).unwrap_or(1))),
        other => Err(Failure::new(format!(
            "pool `{name}` answered something else: {other:?}"
        ))),
    }
}

/// Reaches a pool whose hive has to run.
pub(super) async fn open(
    global: &Global,
    file: &FleetFile,
    name: &PoolName,
) -> Result<(Connection, HiveClient), Failure> {
    let Some(declared) = file.fleet.pools.get(name) else {
        return Err(unknown_pool(file, name.as_str()));
    };
    let (endpoint, options) = (endpoint(declared), global.transport());
    check_home(&endpoint, &options)?;
    let (connection, opened) = Connection::reach(name, &endpoint, &options).await?;
    match opened.hive {
        HiveState::Running(hive) => Ok((connection, hive)),
        HiveState::Bare => Err(
            Failure::new(format!("rbee is not installed on pool `{name}`"))
                .help(
                    "`rbee apply` installs it where fleet.yaml wants a worker on the pool; a pool that builds its own \
                     begins with `cargo build --release` there, then `target/release/rbee-hive git build`",
                ),
        ),
        HiveState::Broken(broken) => {
            Err(Failure::new(format!("pool `{name}`: {broken}")).help(broken.help()))
        }
    }
}

fn relay(terminal: Terminal, pool: &PoolName, event: Event) {
    if let Event::Output { stream, line } = event {
        match stream {
            Stream::Stdout => terminal.data(&format!("{line}\n")),
            Stream::Stderr => Terminal {
                quiet: false,
                ..terminal
            }
            .note(&format!("{}\n", advice::from_here(&line, pool))),
        }
    }
}

/// Takes `--pool NAME` out of the arguments, up to a `--`.
fn split(args: &[OsString]) -> Result<(Option<String>, Vec<String>), Failure> {
    let usage = |what: String| {
        Failure::new(what)
            .help("rbee pool [--pool NAME] COMMAND ...")
            .exit(Exit::USAGE)
    };
    let mut pool = None;
    let mut argv = Vec::new();
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        let Some(arg) = arg.to_str() else {
            return Err(usage(format!("{} is not UTF-8 text", arg.display())));
        };
        if arg == "--" {
            argv.push(arg.to_owned());
            argv.extend(args.by_ref().map(|arg| arg.to_string_lossy().into_owned()));
        } else if arg == "--pool" {
            let name = args.next().and_then(|name| name.to_str());
            pool = Some(
                name.ok_or_else(|| usage("--pool needs a name".into()))?
                    .to_owned(),
            );
        } else if let Some(name) = arg.strip_prefix("--pool=") {
            pool = Some(name.to_owned());
        } else {
            argv.push(arg.to_owned());
        }
    }
    Ok((pool, argv))
}

/// The pool with this name, or the only one.
pub(super) fn choose(file: &FleetFile, pool: Option<String>) -> Result<PoolName, Failure> {
    if let Some(name) = pool {
        name.parse().map_err(|_| unknown_pool(file, &name))
    } else {
        let mut names = file.fleet.pools.keys();
        match (names.next(), names.next()) {
            (Some(only), None) => Ok(only.clone()),
            _ => Err(Failure::new("which pool?")
                .help(format!("--pool NAME, one of: {}", names_of(file)))
                .exit(Exit::USAGE)),
        }
    }
}

fn unknown_pool(file: &FleetFile, name: &str) -> Failure {
    Failure::new(format!("there is no pool `{name}`"))
        .at(file.path.display().to_string())
        .help(format!("its pools are: {}", names_of(file)))
}

fn names_of(file: &FleetFile) -> String {
    let names: Vec<&str> = file.fleet.pools.keys().map(PoolName::as_str).collect();
    if names.is_empty() {
        "(none)".into()
    } else {
        names.join(", ")
    }
}
