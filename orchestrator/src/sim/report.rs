//! What came of a run.

use std::collections::BTreeMap;
use std::fmt;

/// Something that must always be true, and was not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub seed: u64,
    /// Milliseconds since the run began.
    pub at_ms: u64,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, at_ms, what } = self;
        write!(f, "seed {seed}, after {at_ms} ms: {what}")
    }
}

/// Counts and times of a run. Times are virtual.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    pub seed: u64,
    pub tasks: usize,
    pub duration_ms: u64,
    pub admitted: u64,
    /// Submissions that were refused, by why.
    pub refused: BTreeMap<&'static str, u64>,
    /// Clients that went away unserved.
    pub gave_up: u64,
    /// How tasks ended.
    pub ended: BTreeMap<&'static str, u64>,
    pub attempts: u64,
    /// Attempts that failed and were repeated.
    pub repeated: u64,
    pub restarts: u64,
    /// Clients that came back when they were told to, and those of them that were admitted then, by why they were refused.
    pub returned: BTreeMap<&'static str, (u64, u64)>,
    /// Milliseconds from admission to the first token.
    pub first_token_ms: Vec<u64>,
    /// The most at one time.
    pub most_queued: usize,
    pub most_live: usize,
    pub most_held_bytes: usize,
    pub violations: Vec<Violation>,
}

/// Violations that are kept, and those that are shown.
const KEPT: usize = 1000;
const SHOWN: usize = 20;

impl Report {
    pub(super) fn violated(&mut self, at_ms: u64, what: String) {
        if self.violations.len() < KEPT {
            self.violations.push(Violation {
                seed: self.seed,
                at_ms,
                what,
            });
        }
    }

    /// A percentile of the times to the first token.
    pub fn first_token(&self, percent: usize) -> u64 {
        let mut sorted = self.first_token_ms.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or(0)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<&str, u64>| {
            let items = counts.iter().map(|(what, count)| format!("{what} {count}"));
            items.collect::<Vec<_>>().join(", ")
        };
        let mut row = |name: &str, value: String| writeln!(f, "  {name:<22}{value}");
        row(
            &format!("seed {}", self.seed),
            format!("{} tasks", self.tasks),
        )?;
        row("virtual time", format!("{} s", self.duration_ms / 1000))?;
        row("admitted", self.admitted.to_string())?;
        row("refused", list(&self.refused))?;
        row("gave up", self.gave_up.to_string())?;
        row("ended", list(&self.ended))?;
        let attempts = format!("{}, {} repeated", self.attempts, self.repeated);
        row("attempts", attempts)?;
        row("restarts", self.restarts.to_string())?;
        let returned = self.returned.iter().map(|(why, (all, admitted))| {
            let percent = 100.0 * *admitted as f64 / *all as f64;
            format!("{why} {all} ({percent:.1} % admitted)")
        });
        let returned = returned.collect::<Vec<_>>().join(", ");
        row("came back as told", returned)?;
        let (p50, p99) = (self.first_token(50), self.first_token(99));
        row("first token", format!("p50 {p50} ms, p99 {p99} ms"))?;
        let most = format!(
            "{} queued, {} live, {} bytes held",
            self.most_queued, self.most_live, self.most_held_bytes
        );
        row("most at a time", most)?;
        row("violations", self.violations.len().to_string())?;
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(f, "    {violation}")?;
        }
        Ok(())
    }
}
