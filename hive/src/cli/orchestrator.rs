//! `rbee-hive orchestrator`.

use clap::Subcommand;
use pool_core::name::FleetName;
use pool_core::rpc::ErrorCode;

use super::{Output, logs, table};
use crate::error::{Result, fail};
use crate::expect::Expect;
use crate::{Hive, observe, orchestrators};

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The orchestrators of the pool and how they are
    Status,
    /// Stop one once its running streams have ended; the tasks that it keeps stay for the next
    Stop {
        /// Whose it is; may be left out where there is one only
        fleet: Option<FleetName>,
    },
    /// What one printed
    Logs {
        /// Whose it is; may be left out where there is one only
        fleet: Option<FleetName>,
        /// Go on until it is gone
        #[arg(short, long)]
        follow: bool,
    },
}

pub async fn run(hive: &Hive, command: Command, output: &Output) -> Result<()> {
    match command {
        Command::Status => {
            let all = observe::orchestrators(hive).await?;
            output.print(&all, || table::orchestrators(&all))
        }
        Command::Stop { fleet } => {
            let fleet = one(hive, fleet)?;
            let expect = Expect::default();
            let stopped = orchestrators::stop(hive, &fleet, &expect, false).await?;
            output.print(&stopped, || {
                format!("stopped the orchestrator of {fleet}\n")
            })
        }
        Command::Logs { fleet, follow } => {
            let fleet = one(hive, fleet)?;
            let (path, home) = (hive.home.orchestrator_log(&fleet), hive.home.clone());
            let is_gone = move || {
                let record = orchestrators::load(&home, &fleet).ok().flatten();
                let process = record.map(|record| orchestrators::process_of(&home, &record));
                !follow || process.flatten().is_none()
            };
            logs::print(&path, is_gone).await
        }
    }
}

/// The fleet that is named, else the only one with an orchestrator here.
fn one(hive: &Hive, fleet: Option<FleetName>) -> Result<FleetName> {
    if let Some(fleet) = fleet {
        return Ok(fleet);
    }
    let mut all = orchestrators::all(&hive.home)?;
    let names: Vec<&str> = all
        .iter()
        .map(|record| record.spec.fleet.as_str())
        .collect();
    match names[..] {
        [_] => Ok(all.remove(0).spec.fleet),
        [] => Err(fail(
            ErrorCode::NotFound,
            "there is no orchestrator here",
            "`orchestrator:` of a fleet.yaml declares one, and `rbee apply` starts it",
        )),
        _ => Err(fail(
            ErrorCode::BadRequest,
            format!("there are several: {}", names.join(", ")),
            "name the fleet",
        )),
    }
}
