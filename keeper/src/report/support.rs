//! What `rbee test` found: cells of a matrix, each a check asked of a worker.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;
use pool_core::address::WorkerAddress;
use pool_core::digest::Sha256;
use pool_core::name::{FleetName, ModelId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::exit::Exit;
use crate::terminal::Paint;

mod junit;
mod page;
mod text;

pub use text::{row, table};

/// All cells: what `test --json` prints, and what is kept beside `MODEL_SUPPORT.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Results {
    pub version: u32,
    pub fleet: FleetName,
    /// The version of rbee that asked.
    pub rbee: String,
    #[schemars(with = "String")]
    pub at: Timestamp,
    pub cells: Vec<Cell>,
}

/// One check of one worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cell {
    pub check: String,
    pub worker: WorkerAddress,
    pub model: ModelId,
    #[serde(flatten)]
    pub outcome: Outcome,
    /// None where it was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tested: Option<Tested>,
    /// It holds of an earlier run, and nothing that it depends on has changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub kept: bool,
}

/// What came of a cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    Passed,
    Failed {
        assertion: Assertion,
        why: String,
    },
    /// Nobody was asked: neither good nor bad.
    NotRun {
        why: String,
        /// Its pool did not answer.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        unreachable: bool,
    },
}

/// What a worker has to do right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Assertion {
    /// It serves in time.
    Ready,
    /// Its streams are well-formed, with exactly one terminal event.
    Stream,
    /// It answers with one token at least.
    Tokens,
    /// The answer is the expected one.
    Answer,
    /// An answer ends for the reason that it should.
    Stop,
    /// Asked again after another question, it answers the same: nothing of the other is left over.
    Repeat,
    /// A request that is cancelled ends in time.
    Cancel,
}

/// When and with what a cell was asked, and what was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tested {
    #[schemars(with = "String")]
    pub at: Timestamp,
    #[serde(flatten)]
    pub key: Key,
    /// Milliseconds that all its questions took.
    pub took_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<Measured>,
}

/// All that a result depends on: with the same key it stays what it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Key {
    /// Of the model's files.
    pub model_digest: Sha256,
    /// The worker's program; none where it is no installed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Sha256>,
    /// The settings of the worker, its device among them.
    pub spec_hash: Sha256,
    /// The check as it is written.
    pub check_hash: Sha256,
}

/// What a cell that was asked to its end measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Milliseconds from the request to the first token, at the operator's machine.
    pub first_token_ms: f64,
    /// None where the answer is too short to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_s: Option<f64>,
    /// Milliseconds from a cancellation to the end of the stream; none where the answers end before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_ms: Option<f64>,
    /// Milliseconds from the worker's start until it was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<u64>,
    /// Bytes of the device that the worker takes.
    pub memory: u64,
}

/// Cells by what came of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    pub passed: usize,
    pub failed: usize,
    pub not_run: usize,
}

impl Results {
    /// The version that this build reads and writes.
    pub const VERSION: u32 = 1;

    pub fn totals(&self) -> Totals {
        Totals::of(&self.cells)
    }

    /// A cell that failed decides, then one that was not run though its pool answers, then a pool that does not.
    pub fn exit(&self) -> Exit {
        let any = |test: fn(&Outcome) -> bool| self.cells.iter().any(|cell| test(&cell.outcome));
        if any(|outcome| matches!(outcome, Outcome::Failed { .. })) {
            Exit::GATE
        } else if any(|outcome| {
            matches!(
                outcome,
                Outcome::NotRun {
                    unreachable: false,
                    ..
                }
            )
        }) {
            Exit::ERROR
        } else if any(|outcome| matches!(outcome, Outcome::NotRun { .. })) {
            Exit::UNREACHABLE
        } else {
            Exit::DONE
        }
    }

    /// These, and of the earlier ones those of the named cells that were not asked now.
    #[must_use]
    pub fn with_others(
        mut self,
        earlier: Option<Self>,
        named: &BTreeSet<(String, String)>,
    ) -> Self {
        let name = |cell: &Cell| (cell.check.clone(), cell.worker.to_string());
        let now: BTreeSet<_> = self.cells.iter().map(name).collect();
        let others = earlier.into_iter().flat_map(|earlier| earlier.cells);
        let is_other = |cell: &Cell| named.contains(&name(cell)) && !now.contains(&name(cell));
        self.cells.extend(others.filter(is_other));
        self.cells
            .sort_by(|one, other| (&one.worker, &one.check).cmp(&(&other.worker, &other.check)));
        self
    }

    /// The result of the same cell, where it passed with the same key.
    pub fn still_holds(&self, check: &str, worker: &WorkerAddress, key: &Key) -> Option<&Cell> {
        let mut cells = self.cells.iter();
        cells.find(|cell| {
            let has_key = |tested: &Tested| tested.key == *key;
            cell.check == check
                && cell.worker == *worker
                && cell.outcome == Outcome::Passed
                && cell.tested.as_ref().is_some_and(has_key)
        })
    }
}

impl Cell {
    /// The result of an earlier run, which still holds.
    #[must_use]
    pub fn keep(self) -> Self {
        Self { kept: true, ..self }
    }

    pub fn word(&self) -> &'static str {
        match &self.outcome {
            Outcome::Passed => "pass",
            Outcome::Failed { .. } => "fail",
            Outcome::NotRun { .. } => "not run",
        }
    }

    pub fn paint(&self) -> Paint {
        match &self.outcome {
            Outcome::Passed => Paint::Good,
            Outcome::Failed { .. } => Paint::Bad,
            Outcome::NotRun { .. } => Paint::Change,
        }
    }

    /// Why it did not pass.
    pub fn why(&self) -> Option<String> {
        match &self.outcome {
            Outcome::Passed => None,
            Outcome::Failed { assertion, why } => Some(format!("{assertion}: {why}")),
            Outcome::NotRun { why, .. } => Some(why.clone()),
        }
    }
}

impl Totals {
    pub fn of<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> Self {
        let mut totals = Self::default();
        for cell in cells {
            match cell.outcome {
                Outcome::Passed => totals.passed += 1,
                Outcome::Failed { .. } => totals.failed += 1,
                Outcome::NotRun { .. } => totals.not_run += 1,
            }
        }
        totals
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            passed,
            failed,
            not_run,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {not_run} not run")
    }
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ready => "ready",
            Self::Stream => "stream",
            Self::Tokens => "tokens",
            Self::Answer => "answer",
            Self::Stop => "stop",
            Self::Repeat => "repeat",
            Self::Cancel => "cancel",
        })
    }
}

/// The cells of each model, in the order of their names.
fn by_model(cells: &[Cell]) -> BTreeMap<&ModelId, Vec<&Cell>> {
    let mut models: BTreeMap<&ModelId, Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        models.entry(&cell.model).or_default().push(cell);
    }
    models
}

#[cfg(test)]
pub mod tests;
