//! `MODEL_SUPPORT.md`: which models work on which backends.

use std::collections::BTreeSet;

use pool_core::device::Backend;

use super::super::markdown;
use super::{Cell, Outcome, Results, Totals, by_model};

impl Results {
    /// The page.
    pub fn page(&self) -> String {
        let (fleet, totals) = (&self.fleet, self.totals());
        let date = self.at.strftime("%Y-%m-%d");
        let mut out = format!(
            "# Model support\n\nWhat `rbee test` found in the fleet {fleet} on {date} (rbee {}): {totals}.\n\n{}",
            self.rbee,
            self.matrix(),
        );
        out += "\n## Cells\n\n";
        out += "| check | worker | result | first token | tok/s | load | memory | cancelled in | asked |\n";
        out += "|---|---|---|--:|--:|--:|--:|--:|---|\n";
        for cell in &self.cells {
            let numbers = cell.numbers().join(" | ");
            let asked = cell.tested.as_ref().map_or_else(
                || "-".to_owned(),
                |tested| tested.at.strftime("%Y-%m-%d").to_string(),
            );
            let (check, worker) = (code(&cell.check), code(&cell.worker));
            let result = result(cell);
            out += &format!("| {check} | {worker} | {result} | {numbers} | {asked} |\n");
        }
        let mut versions = BTreeSet::new();
        for cell in &self.cells {
            if let Some(tested) = &cell.tested {
                let build = tested.key.build;
                let build = build.map_or_else(|| "-".to_owned(), |build| code(&build.short()));
                let digest = code(&tested.key.model_digest);
                versions.insert(format!("| {} | {digest} | {build} |\n", code(&cell.model)));
            }
        }
        if !versions.is_empty() {
            out += "\n## Versions\n\n| model | its files | the worker's build |\n|---|---|---|\n";
            out.extend(versions);
        }
        out
    }

    /// Models down, backends across.
    fn matrix(&self) -> String {
        let mut out = "| model | cpu | cuda | metal |\n|---|---|---|---|\n".to_owned();
        for (model, cells) in by_model(&self.cells) {
            out += &format!("| {} |", code(model));
            for backend in Backend::ALL {
                let on = |cell: &&&Cell| cell.worker.device.backend() == backend;
                let cells: Vec<&Cell> = cells.iter().filter(on).copied().collect();
                out += &format!(" {} |", summary(&cells));
            }
            out += "\n";
        }
        out
    }
}

/// What came of all these cells together.
fn summary(cells: &[&Cell]) -> String {
    let totals = Totals::of(cells.iter().copied());
    let worst = |outcome: fn(&Outcome) -> bool| cells.iter().find(|cell| outcome(&cell.outcome));
    let failed = worst(|outcome| matches!(outcome, Outcome::Failed { .. }));
    let not_run = worst(|outcome| matches!(outcome, Outcome::NotRun { .. }));
    match (failed, not_run, cells.len()) {
        (_, _, 0) => "not run: no worker of the fleet".to_owned(),
        (Some(_), _, all) => format!("**fail** ({} of {all} passed)", totals.passed),
        (None, Some(cell), all) if totals.not_run == all => result(cell),
        (None, Some(_), all) => format!("not all run ({} of {all} passed)", totals.passed),
        (None, None, all) => format!("pass ({all})"),
    }
}

fn result(cell: &Cell) -> String {
    let word = match cell.outcome {
        Outcome::Failed { .. } => "**fail**",
        _ => cell.word(),
    };
    match cell.why() {
        Some(why) => format!("{word}: {}", code(&why)),
        None => word.to_owned(),
    }
}

/// The text in a code span of a table.
fn code(text: &impl ToString) -> String {
    markdown::code(text).replace('|', "\\|")
}
