//! The files that a measurement leaves.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::machine::Machine;
use super::page::Page;
use super::row::{Row, Verdict};
use super::{svg, table};

/// Of the JSON file; another number means other fields.
const FORMAT: u32 = 3;

/// Everything that was measured.
pub struct Report {
    pub page: &'static Page,
    pub machine: Machine,
    /// What was typed.
    pub command: String,
    pub rows: Vec<Row>,
}

impl Report {
    /// For a terminal.
    pub fn text(&self) -> String {
        format!(
            "{}\n{}\nA ratio is the median of the ratios inside rounds. {}\n",
            self.machine.lines(),
            table::plain(&self.rows),
            self.verdict()
        )
    }

    /// Writes the page's `.json`, `.svg` and `.md` into a folder.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let (page, machine) = (self.page, &self.machine);
        let about = format!("{}; {}; {}", machine.name(), page.setting, machine.date);
        let json = serde_json::to_string_pretty(&self.to_json())? + "\n";
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (ending, text) in [
            ("json", json),
            ("svg", svg::draw(&self.rows, &page.plot, &about)),
            ("md", self.markdown()),
        ] {
            let path = dir.join(format!("{}.{ending}", page.file));
            std::fs::write(&path, text)
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    fn verdict(&self) -> String {
        let count = |verdict| {
            self.rows
                .iter()
                .filter(|row| row.verdict() == verdict)
                .count()
        };
        let unjudged = self
            .rows
            .iter()
            .filter(|row| row.floor.is_some() && row.verdict() == Verdict::None)
            .count();
        format!(
            "Floors: {} met, {} missed, {unjudged} without a measurement.",
            count(Verdict::Ok),
            count(Verdict::Miss)
        )
    }

    fn to_json(&self) -> Value {
        json!({
            "version": FORMAT,
            "command": self.command,
            "machine": self.machine.to_json(),
            "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
        })
    }

    fn markdown(&self) -> String {
        let machine = self.machine.lines().replace('\n', "  \n");
        let page = self.page;
        format!(
            "# {}\n\n{}\nThis table is of `{}`:\n\n{}\n\n{}\n{}\n\n![{}]({}.svg)\n",
            page.title,
            page.method,
            self.command,
            machine.trim_end(),
            table::markdown(&self.rows),
            self.verdict(),
            page.plot.title,
            page.file
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::page;
    use crate::bench::row::tests::row;

    fn report() -> Report {
        let mut machine = Machine::look(2, "none".to_owned());
        machine.bandwidth = Some(36.04e9);
        Report {
            page: &page::WORKER,
            machine,
            command: "cargo xtask bench worker --quick".to_owned(),
            rows: vec![
                row(50.0, Some(40.0), None),
                row(30.0, Some(40.0), None),
                row(1.0, None, None),
            ],
        }
    }

    #[test]
    fn the_end_counts_the_floors() {
        let text = report().text();
        assert!(
            text.ends_with("Floors: 1 met, 1 missed, 1 without a measurement.\n"),
            "{text}"
        );
        assert!(text.contains("memory 36.0 GB/s"), "{text}");
    }

    #[test]
    fn three_files_are_written_and_the_json_has_every_round() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("docs");
        report().write(&dir).unwrap();
        let json: Value =
            serde_json::from_slice(&std::fs::read(dir.join("worker.json")).unwrap()).unwrap();
        assert_eq!(json["rows"][1]["rounds"][0]["ours"], 30.0);
        assert_eq!(json["rows"][1]["verdict"], "MISS");
        assert_eq!(json["rows"][2]["ratio"], Value::Null);
        assert!(
            std::fs::read_to_string(dir.join("worker.svg"))
                .unwrap()
                .ends_with("</svg>\n")
        );
        let page = std::fs::read_to_string(dir.join("worker.md")).unwrap();
        assert!(
            page.contains("`cargo xtask bench worker --quick`"),
            "{page}"
        );
    }
}
