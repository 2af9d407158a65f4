//! The cells of one run: of the workers that are there, then of the matrix, model by model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pool_core::device::Backend;
use pool_core::name::{ModelId, PoolName};
use reconciler::observed::PoolState;
use reconciler::resolve::Known;

use super::cells::{self, Cell};
use super::compare;
use super::matrix::{Matrix, Undone};
use super::round::Round;
use super::screen::Screen;
use super::told::Asked;
use super::{Ready, has_ephemeral, wanted};
use crate::cli::{Global, Test};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::pools::{self, Pools};
use crate::report::support::{self, Results};
use crate::terminal::Terminal;

/// One run over the matrix.
pub struct Run<'a> {
    pub global: &'a Global,
    pub args: &'a Test,
    pub matrix: &'a Matrix<'a>,
    pub ready: &'a Ready,
    /// What still holds of the last run is not asked again.
    pub earlier: Option<&'a Results>,
    pub terminal: Terminal,
}

impl Run<'_> {
    /// The workers that are there first, then each model of the ephemeral ones.
    pub async fn all(&self, pools: &mut Pools) -> Result<Asked, Failure> {
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
        let screen = Screen::new(self.terminal, self.matrix.output, &self.ready.cells);
        let mut found = self.round(pools, &[]).ask(stay, &screen).await;
        for (model, cells) in waves {
            let (cells, holding) = self.still_holding(cells, pools);
            for cell in &holding {
                screen.over(cell);
            }
            found.extend(holding);
            if cells.is_empty() {
                continue;
            }
            let undone = match self.bring(pools, Some(model), Some(&screen)).await {
                Ok(undone) => undone,
                // The cells that were asked stay what they are.
                Err(failure) => nowhere(pools, &failure),
            };
            found.extend(self.round(pools, &undone).ask(cells, &screen).await);
        }
        found.sort_by(|one, other| (&one.worker, &one.check).cmp(&(&other.worker, &other.check)));
        Ok(Asked::Cells(found))
    }

    fn round<'a>(&'a self, pools: &'a Pools, undone: &'a [Undone]) -> Round<'a> {
        Round {
            fleet: &self.matrix.file.fleet,
            desired: &self.ready.desired,
            pools,
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
        screen: Option<&Screen>,
    ) -> Result<Vec<Undone>, Failure> {
        let known = Known {
            tested: model.into_iter().cloned().collect(),
            ..self.ready.known.clone()
        };
        let desired = wanted(self.matrix.file, &known)?;
        // What is begun here is ended by `stop`.
        let interrupt = Interrupt::listen()?;
        self.matrix.bring(&desired, pools, &interrupt, screen).await
    }

    /// Leaves no ephemeral worker behind.
    pub async fn stop(&self, pools: &mut Pools) -> Result<(), Failure> {
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
        let undone = self.bring(pools, None, None).await?;
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
                undone = self.bring(pools, Some(model), None).await?;
            }
            let round = self.round(pools, &undone);
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
