//! The results on a terminal.

use pool_core::address::WorkerAddress;
use pool_core::name::ModelId;

use super::{Cell, Results};
use crate::report::Style;
use crate::report::table::{Cell as Column, Table};

impl Results {
    /// A table of all cells, and one line that counts them.
    pub fn text(&self, style: Style) -> String {
        let mut table = table();
        for cell in &self.cells {
            table.row(cell.row());
        }
        let mut out = table.text(style);
        for cell in &self.cells {
            if let Some(why) = cell.why() {
                let line = format!("{}: {} of {}: {why}", cell.word(), cell.check, cell.worker);
                out += "\n";
                out += style.lines(&line, 2).trim_end();
            }
        }
        format!("{}\n\nTest: {}.\n", out.trim_end(), self.totals())
    }
}

impl Cell {
    /// What stands of it in the table.
    pub fn row(&self) -> Vec<Column> {
        let result = Column::painted(self.word(), self.paint());
        let numbers = self.numbers().map(Column::from);
        row(&self.check, &self.worker, &self.model, result, numbers)
    }

    /// First token, tokens a second, load, memory, cancellation; `-` for what was not measured.
    pub(super) fn numbers(&self) -> [String; 5] {
        let measured = self.tested.as_ref().and_then(|tested| tested.measured);
        let Some(measured) = measured else {
            return ["-"; 5].map(str::to_owned);
        };
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
        [
            format!("{:.1} ms", measured.first_token_ms),
            or_dash(measured.tokens_per_s.map(|rate| format!("{rate:.1}"))),
            or_dash(measured.load_ms.map(seconds)),
            pool_core::units::bytes(measured.memory),
            or_dash(measured.cancel_ms.map(|ms| format!("{ms:.1} ms"))),
        ]
    }
}

/// The table, before it has rows.
pub fn table() -> Table {
    let header = [
        "CHECK",
        "WORKER",
        "MODEL",
        "RESULT",
        "FIRST TOKEN",
        "TOK/S",
        "LOAD",
        "MEMORY",
        "CANCEL",
    ];
    Table::new(&header).spare(&["CANCEL", "LOAD", "MEMORY", "MODEL"])
}

/// A row of it.
pub fn row(
    check: &str,
    worker: &WorkerAddress,
    model: &ModelId,
    result: Column,
    numbers: [Column; 5],
) -> Vec<Column> {
    let names = [check, &worker.to_string(), model.as_str()].map(Column::from);
    names.into_iter().chain([result]).chain(numbers).collect()
}
