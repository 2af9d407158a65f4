//! `rbee test`: every check of fleet.yaml, asked of every worker that it names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use pool_core::name::ModelId;
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
    let kept = args.kept(&file).map(Kept::at);
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
        max_download: args.run.max_download,
    };
    let ready = Ready::make(global, args, &matrix, terminal);
    let (ready, mut pools) = interrupt.before(ready).await?;
    let earlier = kept.as_ref().map(Kept::load).transpose()?.flatten();
    let run = Run {
        args,
        matrix: &matrix,
        ready: &ready,
        earlier: earlier.as_ref().filter(|_| args.stale_only),
        terminal,
    };
    let asked = tokio::select! {
        biased;
        () = interrupt.times(1) => Err(Failure::new("interrupted: no results are kept").exit(Exit::INTERRUPTED)),
        asked = run.all(&mut pools) => asked,
    };
    let stopped = run.stop(&mut pools).await;
    leases.end().await;
    pools.close().await;
    let asked = asked?;
    stopped?;
    asked.tell(global, args, kept, earlier, &ready, terminal)
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
}

impl Ready {
    async fn make(
        global: &Global,
        args: &Test,
        matrix: &Matrix<'_>,
        terminal: Terminal,
    ) -> Result<(Self, Pools), Failure> {
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
        let (pools, _) = tokio::join!(asked, matrix.bundles.here());
        let mut pools = pools?;
        if !matrix::ephemeral(&file.fleet).is_empty() {
            matrix.leases.take(&mut pools).await?;
        }
        let known = Known {
            contents,
            builds: pools.builds(matrix.bundles).await,
            configs: file.configs()?,
        };
        let desired = wanted(file, &known, |_| true)?;
        let every = cells::cells(&file.fleet, &desired);
        let all = every.iter().map(Cell::name).collect();
        let cells = cells::chosen(every, args);
        if cells.is_empty() {
            let what = "no check is asked of any worker: nothing matches --check and --worker";
            return Err(Failure::new(what).at(at()).exit(Exit::USAGE));
        }
        let ready = Self {
            known,
            desired,
            cells,
            all,
        };
        Ok((ready, pools))
    }
}

/// What should be, with the ephemeral workers of these models.
fn wanted(
    file: &FleetFile,
    known: &Known,
    models: impl Fn(&ModelId) -> bool,
) -> Result<Desired, Failure> {
    let fleet = file.fleet.with_ephemeral(models);
    resolve(&fleet, known).map_err(|problems| file.wrong(problems))
}

/// One run over the matrix.
struct Run<'a> {
    args: &'a Test,
    matrix: &'a Matrix<'a>,
    ready: &'a Ready,
    /// What still holds of the last run is not asked again.
    earlier: Option<&'a Results>,
    terminal: Terminal,
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
            let undone = self.bring(pools, |one| one == model).await?;
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

    /// Makes the ephemeral workers be those of these models.
    async fn bring(
        &self,
        pools: &mut Pools,
        models: impl Fn(&ModelId) -> bool,
    ) -> Result<Vec<Undone>, Failure> {
        let desired = wanted(self.matrix.file, &self.ready.known, models)?;
        // What is begun here is ended by `stop`.
        self.matrix
            .bring(&desired, pools, &Interrupt::listen()?)
            .await
    }

    /// Leaves no ephemeral worker behind.
    async fn stop(&self, pools: &mut Pools) -> Result<(), Failure> {
        if matrix::ephemeral(&self.matrix.file.fleet).is_empty() {
            return Ok(());
        }
        // An interruption may have come while one was started.
        pools.observe_again().await;
        let undone = self.bring(pools, |_| false).await?;
        match undone.iter().find(|undone| undone.has_failed) {
            None => Ok(()),
            Some(Undone {
                pool, what, why, ..
            }) => Err(Failure::new(format!("{pool}: {what}: {why}"))
                .help("the next `rbee test` or `rbee apply` stops what is left of the matrix")),
        }
    }

    /// For each model that has workers on both backends.
    async fn compare(
        &self,
        backends: [pool_core::device::Backend; 2],
        pools: &mut Pools,
    ) -> Result<Asked, Failure> {
        let pairs = compare::pairs(&self.ready.cells, backends);
        if pairs.is_empty() {
            let [one, other] = backends;
            let what = format!("no model has a worker on {one} and one on {other}");
            let at = self.matrix.file.path.display().to_string();
            return Err(Failure::new(what).at(at));
        }
        let mut compared = Vec::new();
        for (model, pair) in pairs {
            if pair.iter().any(|cell| cell.is_ephemeral) {
                self.bring(pools, |one| one == model).await?;
            }
            let board = board::Board::new(self.terminal, self.matrix.output, 1);
            let round = self.round(pools, &board, &[]);
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
        let text = || results.text(terminal.style());
        super::result(global, terminal, "test", exit, &results, text)?;
        if let Some(path) = &args.junit {
            kept::junit(path, &results)?;
        }
        if let Some(kept) = kept {
            kept.save(&results.with_others(earlier, &ready.all))?;
        }
        Ok(exit)
    }
}
