//! What has come of the cells so far, as lines that fit a screen. Pure: what draws them is `Screen`.

use std::fmt;

use pool_core::address::WorkerAddress;
use pool_core::name::ModelId;
use reconciler::plan::{Action, ActionKind};

use super::cells::Cell;
use crate::progress::News;
use crate::progress::bar::spinner;
use crate::report::Style;
use crate::report::support::{self, Outcome, Totals};
use crate::report::table::{self, Cell as Column};
use crate::terminal::{Paint, paint};

/// Lines of a table beside its rows: the header, an empty one, the totals, and one that stays free.
const FRAME: usize = 4;

/// All cells of a run, in the order of their workers.
#[derive(Debug)]
pub struct Board {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    check: String,
    worker: WorkerAddress,
    model: ModelId,
    state: State,
}

#[derive(Debug)]
enum State {
    Waiting,
    Busy(Phase),
    Over(Box<support::Cell>),
}

/// What is done for a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Installing,
    /// The files of its model come; so many hundredths of them are there.
    Copying(u64),
    Spawning,
    /// Its worker does not serve yet.
    Loading,
    Asking,
}

impl Board {
    pub fn new(cells: &[Cell]) -> Self {
        let rows = cells.iter().map(|cell| Row {
            check: cell.check.clone(),
            worker: cell.worker.clone(),
            model: cell.model.clone(),
            state: State::Waiting,
        });
        let mut rows: Vec<Row> = rows.collect();
        rows.sort_by(|one, other| (&one.worker, &one.check).cmp(&(&other.worker, &other.check)));
        Self { rows }
    }

    pub fn busy(&mut self, cell: &Cell, phase: Phase) {
        self.set(&cell.check, &cell.worker, || State::Busy(phase));
    }

    pub fn over(&mut self, found: &support::Cell) {
        self.set(&found.check, &found.worker, || {
            State::Over(Box::new(found.clone()))
        });
    }

    fn set(&mut self, check: &str, worker: &WorkerAddress, state: impl Fn() -> State) {
        let of_it = |row: &&mut Row| row.check == check && row.worker == *worker;
        if let Some(row) = self.rows.iter_mut().find(of_it) {
            row.state = state();
        }
    }

    /// What is done for a worker of the matrix is done for all its cells.
    pub fn hear(&mut self, action: &Action, news: News) {
        let phase = match (&action.kind, news) {
            (ActionKind::Install { .. }, _) => Phase::Installing,
            (ActionKind::Fetch { .. }, News::Bytes { done, total }) => {
                Phase::Copying(done.saturating_mul(100) / total.max(1))
            }
            // Its messages come with its bytes.
            (ActionKind::Fetch { .. }, News::Said) => return,
            (ActionKind::Fetch { .. }, _) => Phase::Copying(0),
            (ActionKind::Spawn { .. }, News::Said) => Phase::Loading,
            (ActionKind::Spawn { .. }, _) => Phase::Spawning,
            _ => return,
        };
        let is_for = |row: &Row| match &action.kind {
            ActionKind::Fetch { model, .. } => row.model == *model,
            ActionKind::Spawn { spec, .. } => spec.address.as_ref() == Some(&row.worker),
            _ => true,
        };
        for row in &mut self.rows {
            let is_open = !matches!(row.state, State::Over(_));
            if is_open && row.worker.pool == action.pool && is_for(row) {
                row.state = match news {
                    News::Over => State::Waiting,
                    _ => State::Busy(phase),
                };
            }
        }
    }

    /// The table of the results with what is there so far, and a line that counts it. `tick` turns the spinners. Where there
    /// are more cells than a screen of so many lines takes, what goes on and what failed is shown before the others.
    pub fn text(&self, style: Style, lines: usize, tick: usize) -> String {
        let mut shown: Vec<usize> = (0..self.rows.len()).collect();
        let room = lines.saturating_sub(FRAME);
        if shown.len() > room {
            shown.sort_by_key(|&row| self.rows[row].state.rank());
            shown.truncate(room.saturating_sub(1));
            shown.sort_unstable();
        }
        let mut table = support::table();
        for &row in &shown {
            table.row(self.rows[row].columns(style, tick));
        }
        let line = |text: String| match style.width {
            Some(width) => table::cut(&text, width),
            None => text,
        };
        let mut out = table.text(style);
        let more = self.rows.len() - shown.len();
        if more > 0 {
            out += &paint(
                style.colour,
                Paint::Dim,
                &line(format!("… and {more} more")),
            );
            out += "\n";
        }
        let over = self.rows.iter().filter_map(|row| match &row.state {
            State::Over(found) => Some(&**found),
            _ => None,
        });
        let (over, all, totals) = (over.clone().count(), self.rows.len(), Totals::of(over));
        let totals = line(format!("Test: {over} of {all} done, {totals}."));
        out + "\n" + &totals
    }
}

impl Row {
    fn columns(&self, style: Style, tick: usize) -> Vec<Column> {
        let result = match &self.state {
            State::Over(found) => return found.row(),
            State::Waiting => Column::painted("waiting", Paint::Dim),
            State::Busy(phase) => {
                let spinner = spinner(style.unicode);
                format!("{} {phase}", spinner[tick % spinner.len()]).into()
            }
        };
        let numbers = [""; 5].map(Column::from);
        support::row(&self.check, &self.worker, &self.model, result, numbers)
    }
}

impl State {
    /// What is shown before the others.
    fn rank(&self) -> u8 {
        match self {
            Self::Busy(_) => 0,
            Self::Over(found) => match found.outcome {
                Outcome::Failed { .. } => 1,
                Outcome::NotRun { .. } => 2,
                Outcome::Passed => 3,
            },
            Self::Waiting => 4,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Installing => f.write_str("installing"),
            Self::Copying(percent) => write!(f, "copying {percent:>3} %"),
            Self::Spawning => f.write_str("spawning"),
            Self::Loading => f.write_str("loading"),
            Self::Asking => f.write_str("asking"),
        }
    }
}

#[cfg(test)]
mod tests;
