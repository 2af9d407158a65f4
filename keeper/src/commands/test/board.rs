//! Who is asked now, and what came of the cells that were.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::cells::Cell;
use crate::progress::Output;
use crate::report::support;
use crate::terminal::{Terminal, paint};

/// Lines on stderr: one for each cell that is over, and on a terminal one that moves for each that is asked.
pub struct Board {
    terminal: Terminal,
    bars: Option<MultiProgress>,
    all: usize,
    over: AtomicUsize,
}

impl Board {
    pub fn new(terminal: Terminal, output: Output, all: usize) -> Self {
        let mut terminal = terminal;
        terminal.quiet |= output != Output::Text;
        let draws = terminal.draws && !terminal.quiet;
        Self {
            terminal,
            bars: draws.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr())),
            all,
            over: AtomicUsize::new(0),
        }
    }

    /// A cell is asked.
    pub fn begin(&self, cell: &Cell) -> Option<ProgressBar> {
        let bar = self.bars.as_ref()?.add(ProgressBar::new_spinner());
        // A template of this file: it parses.
        let style = ProgressStyle::with_template("  {spinner} {wide_msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(format!("{}  {}", cell.worker, cell.check));
        bar.enable_steady_tick(Duration::from_millis(120));
        Some(bar)
    }

    /// A cell is over.
    pub fn end(&self, bar: Option<ProgressBar>, cell: &support::Cell) {
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let over = self.over.fetch_add(1, Ordering::Relaxed) + 1;
        let word = paint(self.terminal.colour_err, cell.paint(), cell.word());
        let (worker, check, all) = (&cell.worker, &cell.check, self.all);
        let line = format!("  {over} of {all}  {worker}  {check} {word}\n");
        match &self.bars {
            Some(bars) => bars.suspend(|| self.terminal.note(&line)),
            None => self.terminal.note(&line),
        }
    }
}
