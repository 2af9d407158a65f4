//! `rbee test`: every check of fleet.yaml, asked of every worker that it names.

use std::collections::BTreeSet;
use std::path::PathBuf;

use pool_core::name::PoolName;
use reconciler::desired::Desired;
use reconciler::resolve::{Known, resolve};

use super::prepare;
use crate::cli::{Global, Test};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::pools::{self, Pools};
use crate::terminal::Terminal;
use crate::transport::Bundles;

mod ask;
mod board;
mod cells;
mod compare;
mod kept;
mod matrix;
mod round;
mod screen;
mod told;
mod waves;

use cells::Cell;
use kept::Kept;
use matrix::Matrix;
use waves::Run;

pub async fn run(global: &Global, args: &Test, terminal: Terminal) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen()?;
    let file = FleetFile::load(global.file.as_deref())?;
    let kept = args.kept(&file).map(Kept::at).transpose()?;
    let earlier = match kept.as_ref().map(Kept::load).transpose() {
        Ok(earlier) => earlier.flatten(),
        Err(failure) if args.stale_only => return Err(failure),
        Err(_) => None,
    };
    let leases = Leases::new(
        &file.fleet.name.value,
        "rbee test",
        args.lock.patience(),
        terminal,
    );
    let bundles = Bundles::find(global.dist.as_deref());
    let matrix = Matrix {
        file: &file,
        leases: &leases,
        bundles: &bundles,
        terminal,
        output: global.output(),
        allowed: args.run.max_download.into(),
    };
    let mut pools = Pools::default();
    let ready = Ready::make(global, args, &matrix, &mut pools, terminal);
    let ready = match interrupt.before(ready).await {
        Ok(ready) => ready,
        Err(failure) => {
            leases.end().await;
            pools.close().await;
            return Err(failure);
        }
    };
    let run = Run {
        global,
        args,
        matrix: &matrix,
        ready: &ready,
        earlier: earlier.as_ref().filter(|_| args.stale_only),
        terminal,
    };
    let asked = tokio::select! {
        biased;
        () = interrupt.times(1) => {
            Err(Failure::new("interrupted: no results are kept").exit(Exit::INTERRUPTED))
        }
        asked = run.all(&mut pools) => asked,
    };
    let stopped = run.stop(&mut pools).await;
    leases.end().await;
    pools.close().await;
    let told = match asked {
        Ok(asked) => asked.tell(global, args, kept, earlier, &ready, terminal),
        Err(failure) => Err(failure),
    };
    match (told, stopped) {
        (Ok(exit), Err(left)) => {
            terminal.failure(&left);
            Ok(if exit == Exit::DONE {
                left.code()
            } else {
                exit
            })
        }
        (told, _) => told,
    }
}

impl Test {
    /// Where the results are kept, if they are.
    fn kept(&self, file: &FleetFile) -> Option<PathBuf> {
        let beside = || file.folder("MODEL_SUPPORT.md");
        match &self.save {
            Some(path) if path.as_os_str() == "MODEL_SUPPORT.md" => Some(beside()),
            Some(path) => Some(path.clone()),
            None => self.stale_only.then(beside),
        }
    }
}

/// What is known before anybody is asked.
struct Ready {
    known: Known,
    /// The fleet with all of its ephemeral workers.
    desired: Desired,
    cells: Vec<Cell>,
    /// Those of all checks and workers, whatever the command line leaves.
    all: BTreeSet<(String, String)>,
    /// The pools that were there when it began.
    answered: BTreeSet<PoolName>,
}

impl Ready {
    async fn make(
        global: &Global,
        args: &Test,
        matrix: &Matrix<'_>,
        pools: &mut Pools,
        terminal: Terminal,
    ) -> Result<Self, Failure> {
        let file = matrix.file;
        let at = || file.path.display().to_string();
        if file.fleet.checks.is_empty() {
            return Err(Failure::new("the fleet has no checks").at(at()).help(
                "such as `checks: { smoke: { prompt: What is the capital of France?, expect: Paris } }`",
            ));
        }
        let contents = prepare::contents(global, file, args.run.locked, terminal).await?;
        let transport = global.transport();
        let asked = pools::observe(&file.fleet, &transport);
        let (asked, _) = tokio::join!(asked, matrix.bundles.here());
        *pools = asked?;
        if has_ephemeral(file) {
            matrix.leases.take(pools).await?;
        }
        let known = Known {
            contents,
            builds: pools.builds(matrix.bundles).await,
            configs: file.configs()?,
            tested: file.fleet.models.keys().cloned().collect(),
        };
        let desired = wanted(file, &known)?;
        let every = cells::cells(&file.fleet, &desired);
        let all = every.iter().map(Cell::name).collect();
        let cells = cells::chosen(every, args);
        if cells.is_empty() {
            let what = "no check is asked of any worker: nothing matches --check and --worker";
            return Err(Failure::new(what).at(at()).exit(Exit::USAGE));
        }
        Ok(Self {
            known,
            desired,
            cells,
            all,
            answered: pools.links.keys().cloned().collect(),
        })
    }
}

fn wanted(file: &FleetFile, known: &Known) -> Result<Desired, Failure> {
    resolve(&file.fleet, known).map_err(|problems| file.wrong(problems))
}

fn has_ephemeral(file: &FleetFile) -> bool {
    let mut workers = file.fleet.workers.values();
    workers.any(|worker| worker.is_ephemeral())
}
