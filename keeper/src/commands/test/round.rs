//! The cells whose workers are there, device by device.

use std::time::{Duration, Instant};

use futures::future::join_all;
use jiff::Timestamp;
use pool_core::name::ModelId;
use pool_core::observation::ObservedWorker;
use reconciler::desired::Desired;
use reconciler::fleet::Fleet;

use super::ask::{self, Wrong};
use super::board::Phase;
use super::cells::{self, Cell};
use super::compare::{self, Compared};
use super::matrix::Undone;
use super::screen::Screen;
use crate::commands::infer::reach;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::pools::Pools;
use crate::report::support::{self, Assertion, Measured, Outcome, Results, Tested};
use crate::stream::Asked;

/// Cells that are asked together.
pub struct Round<'a> {
    pub fleet: &'a Fleet,
    /// The fleet with all of its ephemeral workers.
    pub desired: &'a Desired,
    pub pools: &'a Pools,
    /// Why workers of the matrix are not there.
    pub undone: &'a [Undone],
    pub earlier: Option<&'a Results>,
    pub patience: Duration,
}

impl Round<'_> {
    /// Asks them, never two at once on a device.
    pub async fn ask(&self, cells: Vec<Cell>, screen: &Screen) -> Vec<support::Cell> {
        let devices = cells::by_device(cells).into_iter().map(|cells| async {
            let mut found = Vec::new();
            for cell in cells {
                let one = self.outcome(cell, screen).await;
                screen.over(&one);
                found.push(one);
            }
            found
        });
        join_all(devices).await.into_iter().flatten().collect()
    }

    async fn outcome(&self, cell: Cell, screen: &Screen) -> support::Cell {
        let worker = match self.worker(&cell) {
            Ok(worker) => worker,
            Err(outcome) => return told(cell, outcome, None),
        };
        let key = cells::key(&cell, worker);
        let held = self
            .earlier
            .and_then(|earlier| earlier.still_holds(&cell.check, &cell.worker, &key));
        if let Some(held) = held {
            return held.clone().keep();
        }
        let (at, begun) = (Timestamp::now(), Instant::now());
        let measured = self.measure(&cell, worker, screen).await;
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

    async fn measure(
        &self,
        cell: &Cell,
        worker: &ObservedWorker,
        screen: &Screen,
    ) -> Result<Measured, Wrong> {
        screen.busy(cell, Phase::Loading);
        let ready = async {
            let asked = self.reach(cell, worker).await?;
            asked.ready_within(self.patience).await?;
            Ok(asked)
        };
        let asked = ready.await.map_err(|failure: Failure| Wrong {
            assertion: Assertion::Ready,
            why: failure.report().what,
        })?;
        screen.busy(cell, Phase::Asking);
        let measured = ask::cell(&asked, &cell.question, &cell.other).await?;
        Ok(Measured {
            load_ms: worker.record.load_ms,
            ..measured
        })
    }

    async fn reach(&self, cell: &Cell, worker: &ObservedWorker) -> Result<Asked, Failure> {
        let fleet = &self.fleet.name.value;
        reach(self.pools, fleet, &cell.worker.pool, worker.record.listen).await
    }

    /// The worker that fleet.yaml means, where it runs; else why it does not.
    fn worker(&self, cell: &Cell) -> Result<&ObservedWorker, Outcome> {
        let observed = &self.pools.observed;
        let worker = cells::serving(observed, self.fleet, &cell.worker);
        let worker = worker.map_err(|outcome| self.why_undone(cell).unwrap_or(outcome))?;
        let wanted = cells::spec(cell, self.desired);
        if wanted.is_some_and(|spec| spec.hash() != worker.record.spec_hash) {
            let other = || Outcome::NotRun {
                why: "it runs otherwise than the fleet file says; `rbee apply` replaces it".into(),
                unreachable: false,
            };
            return Err(self.why_undone(cell).unwrap_or_else(other));
        }
        Ok(worker)
    }

    /// What kept a worker of the matrix from being there.
    fn why_undone(&self, cell: &Cell) -> Option<Outcome> {
        if !cell.is_ephemeral {
            return None;
        }
        let of_pool = |undone: &&Undone| undone.pool == cell.worker.pool;
        let mut here = self.undone.iter().filter(of_pool);
        let is_its = |undone: &&Undone| undone.failed.as_ref() == Some(&cell.worker);
        if let Some(failed) = here.clone().find(is_its) {
            return Some(Outcome::Failed {
                assertion: Assertion::Ready,
                why: format!("{}: {}", failed.what, failed.why),
            });
        }
        let words = format!("worker {}", cell.worker);
        let named = here.clone().find(|undone| undone.what == words);
        let undone = named.or_else(|| here.find(|undone| undone.failed.is_none()))?;
        Some(Outcome::NotRun {
            why: format!("{}: {}", undone.what, undone.why),
            unreachable: undone.unreachable,
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
            let worker = self.worker(cell).map_err(|outcome| {
                let exit = match outcome {
                    Outcome::NotRun {
                        unreachable: true, ..
                    } => Exit::UNREACHABLE,
                    _ => Exit::ERROR,
                };
                let why = told(cell.clone(), outcome, None).why().unwrap_or_default();
                Failure::new(format!("{} cannot be asked: {why}", cell.worker)).exit(exit)
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
