//! The cells whose workers are there, device by device.

use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use pool_core::name::ModelId;
use pool_core::observation::ObservedWorker;
use reconciler::fleet::Fleet;

use super::ask::{self, Wrong};
use super::board::Board;
use super::cells::{self, Cell};
use super::compare::{self, Compared};
use super::matrix::Undone;
use crate::commands::infer::reach;
use crate::failure::Failure;
use crate::pools::Pools;
use crate::report::support::{self, Assertion, Measured, Outcome, Results, Tested};
use crate::stream::Asked;

/// Cells that are asked together.
pub struct Round<'a> {
    pub fleet: &'a Fleet,
    pub pools: &'a Pools,
    pub board: &'a Board,
    /// Why workers of the matrix are not there.
    pub undone: &'a [Undone],
    pub earlier: Option<&'a Results>,
    pub patience: Duration,
}

impl Round<'_> {
    /// Asks them, never two at once on a device.
    pub async fn ask(&self, cells: Vec<Cell>) -> Vec<support::Cell> {
        let devices = cells::by_device(cells).into_iter().map(|cells| async {
            let mut found = Vec::new();
            for cell in cells {
                found.push(self.one(cell).await);
            }
            found
        });
        join_all(devices).await.into_iter().flatten().collect()
    }

    async fn one(&self, cell: Cell) -> support::Cell {
        let bar = self.board.begin(&cell);
        let found = self.outcome(cell).await;
        self.board.end(bar, &found);
        found
    }

    async fn outcome(&self, cell: Cell) -> support::Cell {
        let worker = match cells::serving(&self.pools.observed, self.fleet, &cell.worker) {
            Ok(worker) => worker,
            Err(outcome) => {
                let outcome = self.why_undone(&cell).unwrap_or(outcome);
                return told(cell, outcome, None);
            }
        };
        let key = cells::key(&cell, worker);
        let held = self
            .earlier
            .and_then(|earlier| earlier.still_holds(&cell.check, &cell.worker, &key));
        if let Some(held) = held {
            return held.clone().keep();
        }
        let (at, begun) = (Timestamp::now(), Instant::now());
        let measured = self.measure(&cell, worker).await;
        let tested = Tested {
            at,
            key,
            took_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            measured: measured.as_ref().ok().copied(),
        };
        let outcome = match measured {
            Ok(_) => Outcome::Passed,
            Err(Wrong { assertion, why }) => Outcome::Failed { assertion, why },
        };
        told(cell, outcome, Some(tested))
    }

    async fn measure(&self, cell: &Cell, worker: &ObservedWorker) -> Result<Measured, Wrong> {
        let asked = self.reach(cell, worker).await.map_err(|failure| Wrong {
            assertion: Assertion::Ready,
            why: failure.report().what,
        })?;
        let measured = ask::cell(&asked, &cell.question, &cell.other, self.patience).await?;
        Ok(Measured {
            load_ms: worker.record.load_ms,
            ..measured
        })
    }

    async fn reach(&self, cell: &Cell, worker: &ObservedWorker) -> Result<Asked, Failure> {
        let fleet = &self.fleet.name.value;
        reach(self.pools, fleet, &cell.worker.pool, worker.record.listen).await
    }

    /// What kept a worker of the matrix from being there.
    fn why_undone(&self, cell: &Cell) -> Option<Outcome> {
        let address = cell.worker.to_string();
        let here = || {
            self.undone
                .iter()
                .filter(|undone| undone.pool == cell.worker.pool)
        };
        let undone = here()
            .find(|undone| undone.what.contains(&address))
            .or_else(|| here().next())?;
        let why = format!("{}: {}", undone.what, undone.why);
        Some(if undone.has_failed {
            Outcome::Failed {
                assertion: Assertion::Ready,
                why,
            }
        } else {
            Outcome::NotRun {
                why,
                unreachable: false,
            }
        })
    }

    /// Both workers of a model, asked the same.
    pub async fn compare(
        &self,
        model: &ModelId,
        pair: [&Cell; 2],
        questions: &[&str],
    ) -> Result<Compared, Failure> {
        let mut asked = Vec::new();
        for cell in pair {
            let worker = cells::serving(&self.pools.observed, self.fleet, &cell.worker);
            let worker = worker.map_err(|outcome| {
                let why = told(cell.clone(), outcome, None).why().unwrap_or_default();
                Failure::new(format!("{} cannot be asked: {why}", cell.worker))
            })?;
            let worker = self.reach(cell, worker).await?;
            worker.ready_within(self.patience).await?;
            asked.push(worker);
        }
        let names = pair.map(|cell| cell.worker.to_string());
        compare::compare(model, names, [&asked[0], &asked[1]], questions).await
    }
}

fn told(cell: Cell, outcome: Outcome, tested: Option<Tested>) -> support::Cell {
    support::Cell {
        check: cell.check,
        worker: cell.worker,
        model: cell.model,
        outcome,
        tested,
        kept: false,
    }
}
