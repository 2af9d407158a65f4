//! A measurement of several parts: what can be measured is reported, and what cannot is said.

use std::path::Path;

use anyhow::bail;

use super::machine::Machine;
use super::page::Page;
use super::report::Report;
use super::row::Row;
use crate::{root, say};

/// What parts are measured for.
pub struct Run<'a> {
    pub machine: Machine,
    pub page: &'static Page,
    /// What was typed.
    pub command: String,
    /// `target/bench`.
    pub home: &'a Path,
    /// Neither short nor of some parts only.
    pub is_full: bool,
}

impl Run<'_> {
    /// Measures one part after the other, prints the table, and writes it: to `docs/bench` if it is full and nothing failed, so that
    /// nothing less ever takes the place of a full run.
    pub fn measure<B, P>(
        mut self,
        bench: &B,
        parts: impl IntoIterator<Item = (&'static str, P)>,
    ) -> anyhow::Result<()>
    where
        P: Fn(&B) -> anyhow::Result<Vec<Row>>,
    {
        let (mut rows, mut failures) = (Vec::new(), Vec::new());
        for (name, measure) in parts {
            self.machine.look_for_others();
            match measure(bench) {
                Ok(more) => rows.extend(more),
                Err(error) => failures.push(format!("{name}: {error:#}")),
            }
        }
        self.machine.look_for_others();
        let dir = if self.is_full && failures.is_empty() {
            root().join("docs").join("bench")
        } else {
            self.home.join("results")
        };
        let report = Report {
            page: self.page,
            machine: self.machine,
            command: self.command,
            rows,
        };
        report.write(&dir)?;
        crate::print(&report.text());
        say(&format!("written: {}", dir.display()));
        if !failures.is_empty() {
            bail!("not measured: {}", failures.join("; "));
        }
        Ok(())
    }
}
