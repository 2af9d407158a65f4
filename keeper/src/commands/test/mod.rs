//! `rbee test`: every check of fleet.yaml, asked of every worker that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use pool_core::device::Backend;
use pool_core::name::{ModelId, PoolName};
use reconciler::desired::Desired;
use reconciler::observed::PoolState;
use reconciler::resolve::{Known, resolve};

use super::prepare;
use crate::cli::{Global, Test};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::pools::{self, Pools};
use crate::report::support::{self, Results};
use crate::terminal::Terminal;
use crate::transport::Bundles;

mod ask;
mod board;
mod cells;
mod compare;
mod kept;
mod matrix;
mod round;

use cells::Cell;
use kept::Kept;
use matrix::{Matrix, Undone};
use round::Round;

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

/// One run over the matrix.
struct Run<'a> {
    global: &'a Global,
    args: &'a Test,
    matrix: &'a Matrix<'a>,
    ready: &'a Ready,
    /// What still holds of the last run is not asked again.
    earlier: Option<&'a Results>,
    terminal: Terminal,
}

/// No worker of the matrix came to any pool.
fn nowhere(pools: &Pools, failure: &Failure) -> Vec<Undone> {
    let undone = |pool: &PoolName| Undone {
        pool: pool.clone(),
        what: "the matrix".to_owned(),
        why: failure.report().what,
        failed: None,
        unreachable: false,
    };
    pools.links.keys().map(undone).collect()
}

/// What a run found.
enum Asked {
    Cells(Vec<support::Cell>),
    Compared(Vec<compare::Compared>),
}

impl Run<'_> {
    /// The workers that are there first, then each model of the ephemeral ones.
    async fn all(&self, pools: &mut Pools) -> Result<Asked, Failure> {
        if let Some(backends) = self.args.compare {
            return self.compare(backends, pools).await;
        }
        let (mut waves, mut stay) = (BTreeMap::<&ModelId, Vec<Cell>>::new(), Vec::new());
        for cell in &self.ready.cells {
            if cell.is_ephemeral {
                waves.entry(&cell.model).or_default().push(cell.clone());
            } else {
                stay.push(cell.clone());
            }
        }
        let board = board::Board::new(self.terminal, self.matrix.output, self.ready.cells.len());
        let mut found = self.round(pools, &board, &[]).ask(stay).await;
        for (model, cells) in waves {
            let (cells, holding) = self.still_holding(cells, pools);
            found.extend(holding);
            if cells.is_empty() {
                continue;
            }
            let undone = match self.bring(pools, Some(model)).await {
                Ok(undone) => undone,
                // The cells that were asked stay what they are.
                Err(failure) => nowhere(pools, &failure),
            };
            found.extend(self.round(pools, &board, &undone).ask(cells).await);
        }
        found.sort_by(|one, other| (&one.worker, &one.check).cmp(&(&other.worker, &other.check)));
        Ok(Asked::Cells(found))
    }

    fn round<'a>(
        &'a self,
        pools: &'a Pools,
        board: &'a board::Board,
        undone: &'a [Undone],
    ) -> Round<'a> {
        Round {
            fleet: &self.matrix.file.fleet,
            desired: &self.ready.desired,
            pools,
            board,
            undone,
            earlier: self.earlier,
            patience: Duration::from_secs(self.args.wait),
        }
    }

    /// The cells that have to be asked, and the results of those that do not.
    fn still_holding(&self, cells: Vec<Cell>, pools: &Pools) -> (Vec<Cell>, Vec<support::Cell>) {
        let (mut open, mut holding) = (Vec::new(), Vec::new());
        for cell in cells {
            let key = cells::key_to_be(&cell, &self.ready.desired, &pools.observed);
            let found =
                key.and_then(|key| self.earlier?.still_holds(&cell.check, &cell.worker, &key));
            match found {
                Some(found) => holding.push(found.clone().keep()),
                None => open.push(cell),
            }
        }
        (open, holding)
    }

    /// Makes the ephemeral workers be those of this model.
    async fn bring(
        &self,
        pools: &mut Pools,
        model: Option<&ModelId>,
    ) -> Result<Vec<Undone>, Failure> {
        let known = Known {
            tested: model.into_iter().cloned().collect(),
            ..self.ready.known.clone()
        };
        let desired = wanted(self.matrix.file, &known)?;
        // What is begun here is ended by `stop`.
        let interrupt = Interrupt::listen()?;
        self.matrix.bring(&desired, pools, &interrupt).await
    }

    /// Leaves no ephemeral worker behind.
    async fn stop(&self, pools: &mut Pools) -> Result<(), Failure> {
        if !has_ephemeral(self.matrix.file) {
            return Ok(());
        }
        // An interruption may have come while one was started.
        pools.observe_again().await;
        let is_open = |pools: &Pools, name: &PoolName| {
            let state = pools.observed.pools.get(name);
            matches!(state, Some(PoolState::Known(_) | PoolState::Bare(_)))
        };
        let cells = self.ready.cells.iter().filter(|cell| cell.is_ephemeral);
        let used: BTreeSet<&PoolName> = cells
            .map(|cell| &cell.worker.pool)
            .filter(|pool| self.ready.answered.contains(*pool))
            .collect();
        if used.iter().any(|pool| !is_open(pools, pool)) {
            // A hive ends with what was cut in the middle.
            self.matrix.leases.end().await;
            std::mem::take(pools).close().await;
            *pools = pools::observe(&self.matrix.file.fleet, &self.global.transport()).await?;
            self.matrix.leases.take(pools).await?;
        }
        let help = "the next `rbee test` or `rbee apply` stops what is left of the matrix";
        if let Some(pool) = used.iter().find(|pool| !is_open(pools, pool)) {
            let what = format!(
                "pool `{pool}` does not answer any more: a worker of the matrix may run there"
            );
            return Err(Failure::new(what).help(help).exit(Exit::UNREACHABLE));
        }
        let undone = self.bring(pools, None).await?;
        match undone.first() {
            None => Ok(()),
            Some(Undone {
                pool, what, why, ..
            }) => Err(Failure::new(format!("{pool}: {what}: {why}")).help(help)),
        }
    }

    /// For each model that has workers on both backends.
    async fn compare(&self, backends: [Backend; 2], pools: &mut Pools) -> Result<Asked, Failure> {
        let pairs = compare::pairs(&self.ready.cells, backends);
        if pairs.is_empty() {
            let [one, other] = backends;
            let what = format!("no model has a worker on {one} and one on {other}");
            let at = self.matrix.file.path.display().to_string();
            return Err(Failure::new(what).at(at));
        }
        let mut compared = Vec::new();
        for (model, pair) in pairs {
            let mut undone = Vec::new();
            if pair.iter().any(|cell| cell.is_ephemeral) {
                undone = self.bring(pools, Some(model)).await?;
            }
            let board = board::Board::new(self.terminal, self.matrix.output, 1);
            let round = self.round(pools, &board, &undone);
            let questions: BTreeSet<&str> = self
                .ready
                .cells
                .iter()
                .filter(|cell| cell.model == *model)
                .map(|cell| cell.question.prompt())
                .collect();
            let questions: Vec<&str> = questions.into_iter().collect();
            compared.push(round.compare(model, pair, &questions).await?);
        }
        Ok(Asked::Compared(compared))
    }
}

impl Asked {
    /// Prints and keeps it.
    fn tell(
        self,
        global: &Global,
        args: &Test,
        kept: Option<Kept>,
        earlier: Option<Results>,
        ready: &Ready,
        terminal: Terminal,
    ) -> Result<Exit, Failure> {
        let fleet = ready.desired.fleet.clone();
        let cells = match self {
            Self::Compared(compared) => {
                let document = compare::Document::new(fleet, args.tolerance, compared);
                let exit = document.exit();
                let text = || document.text(terminal.style());
                super::result(global, terminal, "test", exit, &document, text)?;
                return Ok(exit);
            }
            Self::Cells(cells) => cells,
        };
        let results = Results {
            version: Results::VERSION,
            fleet,
            rbee: pool_core::VERSION.to_owned(),
            at: Timestamp::now(),
            cells,
        };
        let exit = results.exit();
        let write = || {
            if let Some(path) = &args.junit {
                kept::junit(path, &results)?;
            }
            match kept {
                Some(kept) => kept.save(&results.clone().with_others(earlier, &ready.all)),
                None => Ok(()),
            }
        };
        // What was found is told, whatever becomes of the files.
        let written = write();
        let text = || results.text(terminal.style());
        super::result(global, terminal, "test", exit, &results, text)?;
        match written {
            Err(failure) if exit == Exit::DONE => {
                terminal.failure(&failure);
                Ok(Exit::ERROR)
            }
            Err(failure) => {
                terminal.failure(&failure);
                Ok(exit)
            }
            Ok(()) => Ok(exit),
        }
    }
}
