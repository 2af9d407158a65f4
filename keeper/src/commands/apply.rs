//! `rbee apply`: what fleet.yaml says, or a plan that was saved.

use std::path::Path;

use pool_core::name::FleetName;
use reconciler::planner::Options;

use super::prepare::{self, Manner, Prepared, Wish};
use super::review;
use crate::cli::{Apply, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::progress::Progress;
use crate::saved::{self, Saved};
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Apply, terminal: Terminal) -> Result<Exit, Failure> {
    match &args.plan {
        Some(path) => run_saved(global, args, path, terminal).await,
        None => run_file(global, args, terminal).await,
    }
}

async fn run_file(global: &Global, args: &Apply, terminal: Terminal) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen()?;
    let file = FleetFile::load(global.file.as_deref())?;
    let leases = leases(&file.fleet.name.value, args, terminal);
    let wish = Wish {
        options: Options {
            prune_models: args.prune_models,
        },
        targets: args.part.targets(),
        must_be_locked: args.run.locked,
    };
    let ready = async {
        let prepared = prepare::to_apply(global, &file, wish, Some(&leases), terminal).await?;
        let progress = prepared.show(global.output(), terminal);
        let accepted = async {
            // Others may have had the pools for a while.
            file.check_unchanged()?;
            check(&prepared, args)?;
            prepared.check_emptied(&file, args.allow_empty)?;
            prepared.confirm(args.yes, "Do this?", terminal).await
        };
        accept(accepted.await, prepared, progress, &leases).await
    };
    let (prepared, progress) = interrupt.before(ready).await?;
    let manner = manner(global, args);
    prepared
        .carry_out(&leases, manner, &progress, &interrupt, terminal)
        .await
}

async fn run_saved(
    global: &Global,
    args: &Apply,
    path: &Path,
    terminal: Terminal,
) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen()?;
    let saved: Saved = saved::load(path)?;
    let leases = leases(&saved.fleet, args, terminal);
    let ready = async {
        let prepared = review::to_apply(global, saved, &leases, terminal).await?;
        let progress = prepared.show(global.output(), terminal);
        let accepted = check(&prepared, args);
        accept(accepted, prepared, progress, &leases).await
    };
    let (prepared, progress) = interrupt.before(ready).await?;
    let manner = manner(global, args);
    prepared
        .carry_out(&leases, manner, &progress, &interrupt, terminal)
        .await
}

fn leases(fleet: &FleetName, args: &Apply, terminal: Terminal) -> Leases {
    Leases::new(fleet, "rbee apply", args.lock.patience(), terminal)
}

fn manner(global: &Global, args: &Apply) -> Manner {
    Manner {
        parallelism: args.parallelism,
        max_download: args.run.max_download,
        output: global.output(),
    }
}

/// Lets the pools go when the plan is not to be carried out.
async fn accept(
    accepted: Result<(), Failure>,
    prepared: Prepared,
    progress: Progress,
    leases: &Leases,
) -> Result<(Prepared, Progress), Failure> {
    match accepted {
        Ok(()) => Ok((prepared, progress)),
        Err(refusal) => {
            progress.summary(&prepared.plan, None, refusal.code().0);
            prepared.close(leases).await;
            Err(refusal)
        }
    }
}

/// What the fleet file or the command line forbids.
fn check(prepared: &Prepared, args: &Apply) -> Result<(), Failure> {
    prepared
        .check_download(args.run.max_download)
        .and_then(|()| prepared.check_outages())
}
