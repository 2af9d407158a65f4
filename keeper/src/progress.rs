//! What is going on, for people: bars on a terminal, plain lines elsewhere.

use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use pool_core::name::PoolName;

use crate::terminal::{Paint, Terminal, paint};

/// The progress of one apply.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    bars: Option<MultiProgress>,
    pool_width: usize,
}

/// One action under way.
#[derive(Debug)]
pub struct Step<'a> {
    progress: &'a Progress,
    pool: PoolName,
    what: String,
    bar: Option<ProgressBar>,
    begun: Instant,
}

impl Progress {
    pub fn new<'a>(terminal: Terminal, pools: impl Iterator<Item = &'a PoolName>) -> Self {
        let draws = terminal.draws && !terminal.quiet;
        Self {
            bars: draws.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            terminal,
            pool_width: pools.map(|pool| pool.as_str().len()).max().unwrap_or(0),
        }
    }

    /// Begins an action; `bytes` when it moves that many.
    pub fn step(&self, pool: &PoolName, what: String, bytes: Option<u64>) -> Step<'_> {
        let width = self.pool_width;
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(match bytes {
                Some(bytes) => ProgressBar::new(bytes),
                None => ProgressBar::new_spinner(),
            });
            let template = match bytes {
                Some(_) => "  {prefix} {bar:24} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
                None => "  {prefix} {spinner} {msg}",
            };
            // A template of this file: it parses.
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(format!("{pool:width$}  {what}"));
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if bar.is_none() {
            self.terminal
                .note(&format!("  {pool:width$}  {what} ...\n"));
        }
        Step {
            progress: self,
            pool: pool.clone(),
            what,
            bar,
            begun: Instant::now(),
        }
    }

    /// A line that stays, above the bars.
    pub fn line(&self, text: &str) {
        match &self.bars {
            Some(bars) => bars.suspend(|| self.terminal.note(&format!("{text}\n"))),
            None => self.terminal.note(&format!("{text}\n")),
        }
    }
}

impl Step<'_> {
    /// So many bytes are moved.
    pub fn bytes(&self, moved: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(moved);
        }
    }

    /// What it does now.
    pub fn say(&self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_owned());
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn done(self, detail: &str) {
        let time = format!("({:.1} s)", self.begun.elapsed().as_secs_f64());
        let colour = self.progress.terminal.colour_err;
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        let text = format!(
            "{}{detail} {}",
            paint(colour, Paint::Good, "done"),
            paint(colour, Paint::Dim, &time)
        );
        self.end(&text);
    }

    pub fn failed(self, why: &str) {
        let colour = self.progress.terminal.colour_err;
        let text = format!("{}: {why}", paint(colour, Paint::Bad, "failed"));
        self.end(&text);
    }

    fn end(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let width = self.progress.pool_width;
        let (pool, what) = (&self.pool, &self.what);
        self.progress
            .line(&format!("  {pool:width$}  {what} {text}"));
    }
}
