//! The files that a measurement leaves.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::machine::Machine;
use super::row::{Row, Verdict};
use super::{svg, table};

/// Of `worker.json`; another number means other fields.
const FORMAT: u32 = 1;

/// How the numbers came to be; the same for every run.
const METHOD: &str = "\
`cargo xtask bench worker` measures `llm-worker-rbee` on the CPU of this machine and prints the table below; `worker.json` has
every round. Weights are random, of the true shapes of two published models; no token ends an answer. The peer is
llama.cpp, built on first use from the sources inside the package llama-cpp-python, with the same number of threads, on weights
of the same sizes; without Python, a compiler or a network its column stays empty.

- A round measures memory, ours, the peer, ours, memory, one right after the other, since the bandwidth of shared machines jumps.
  A ratio is the median of the ratios inside rounds, so it need not be the quotient of the two medians beside it.
- *ours*, decode and prefill: the network alone with greedy choice, in its own process. A decode begins after 16 tokens, the
  peer's single one (`llama-bench`) after none; *8 sequences* is the sum of all, the peer's by `llama-batched-bench`.
- *limit* of decode: bytes that all threads together read per second, over the bytes of weights that a token reads (34 for 32
  numbers in q8_0).
- *load to ready*: from the start of the process to `/ready` 200, q8_0 made from bf16 on the way; the limit is twice the time of
  `cat` of the file just before, and a second. It is the second of two starts in a row: a virtual machine gets memory that it
  has not used for a while from its host page by page, at a pace that is the host's.
- *peak while loading*: `VmHWM` of the process once it is ready; the limit is weights and KV by its `/health`.
- *HTTP*: one stream of `/execute`, from its first token to its last on the client's clock; the limit is the network alone,
  just before and after; four of them in a round.
- */health under full load*: on a connection of its own, asked every 5 ms while 8 streams run; the limit is the floor.
";

/// Everything that was measured.
pub struct Report {
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

    /// Writes `worker.json`, `worker.svg` and `worker.md` into a folder.
    pub fn write(&self, dir: &Path) -> anyhow::Result<()> {
        let about = format!(
            "{}, {} threads, {}; random weights; {}",
            self.machine.cpu, self.machine.cores, self.machine.tier, self.machine.date
        );
        let json = serde_json::to_string_pretty(&self.to_json())? + "\n";
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for (name, text) in [
            ("worker.json", json),
            ("worker.svg", svg::draw(&self.rows, &about)),
            ("worker.md", self.markdown()),
        ] {
            let path = dir.join(name);
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
        format!(
            "# The worker's speed\n\n{METHOD}\nThis table is of `{}`:\n\n{}\n{}\n{}\n\n![Tokens per second](worker.svg)\n",
            self.command,
            machine.trim_end(),
            format_args!("\n{}", table::markdown(&self.rows)),
            self.verdict()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::tests::row;

    fn report() -> Report {
        let mut machine = Machine::look(2, "none".to_owned());
        machine.bandwidth = Some(36.04e9);
        Report {
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
