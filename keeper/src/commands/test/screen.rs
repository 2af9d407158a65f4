//! Shows a run while it goes on: a table that is drawn again and again on a terminal, elsewhere a line for each cell that is over.

use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use reconciler::plan::{Action, Plan};

use super::board::{Board, Phase};
use super::cells::Cell;
use crate::apply::lock;
use crate::progress::bar::TICK;
use crate::progress::{Follow, News, Output, Progress};
use crate::report::support;
use crate::terminal::{self, Silence, Terminal, paint};

/// What is shown on stderr. The table is gone when this is dropped.
pub struct Screen {
    terminal: Terminal,
    output: Output,
    table: Option<Arc<Table>>,
    all: usize,
    over: AtomicUsize,
    _silence: Option<Silence>,
}

#[derive(Debug)]
struct Table {
    terminal: Terminal,
    board: Arc<Mutex<Board>>,
    bar: ProgressBar,
}

impl Screen {
    pub fn new(terminal: Terminal, output: Output, cells: &[Cell]) -> Self {
        let mut terminal = terminal;
        terminal.quiet |= output != Output::Text;
        let draws = terminal.draws && !terminal.quiet;
        Self {
            terminal,
            output,
            table: draws.then(|| Arc::new(Table::new(terminal, Board::new(cells)))),
            all: cells.len(),
            over: AtomicUsize::new(0),
            _silence: draws.then(Silence::begin).flatten(),
        }
    }

    /// This is done for a cell now.
    pub fn busy(&self, cell: &Cell, phase: Phase) {
        if let Some(table) = &self.table {
            lock(&table.board).busy(cell, phase);
        }
    }

    /// A cell is over.
    pub fn over(&self, found: &support::Cell) {
        if let Some(table) = &self.table {
            lock(&table.board).over(found);
            return;
        }
        let over = self.over.fetch_add(1, Ordering::Relaxed) + 1;
        let word = paint(self.terminal.colour_err, found.paint(), found.word());
        let (worker, check, all) = (&found.worker, &found.check, self.all);
        let line = format!("  {over} of {all}  {worker}  {check} {word}\n");
        self.terminal.note(&line);
    }

    /// Of a plan that brings workers of the matrix: in the table, where there is one.
    pub fn progress(&self, plan: &Plan) -> Progress {
        match &self.table {
            Some(table) => Progress::followed(self.terminal, table.clone()),
            None => progress(self.terminal, self.output, plan),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(table) = &self.table {
            table.bar.finish_and_clear();
        }
    }
}

/// Of a plan that is shown by itself. The only document on stdout is that of the results.
pub fn progress(terminal: Terminal, output: Output, plan: &Plan) -> Progress {
    let output = match output {
        Output::Text => Output::Text,
        Output::Json | Output::JsonStream => Output::Json,
    };
    Progress::new(terminal, output, plan)
}

impl Table {
    fn new(terminal: Terminal, board: Board) -> Self {
        let board = Arc::new(Mutex::new(board));
        let shown = board.clone();
        let text = move |state: &ProgressState, out: &mut dyn Write| {
            let (_, lines) = terminal::screen();
            let ticks = state.elapsed().as_millis() / TICK.as_millis();
            let tick = usize::try_from(ticks).unwrap_or_default();
            let _ = out.write_str(&lock(&shown).text(terminal.style_err(), lines, tick));
        };
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // A template of this file: it parses.
        let style = ProgressStyle::with_template("{table}");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_spinner());
        bar.set_style(style.with_key("table", text));
        bar.enable_steady_tick(TICK);
        Self {
            terminal,
            board,
            bar,
        }
    }
}

impl Follow for Table {
    fn hear(&self, action: &Action, news: News) {
        lock(&self.board).hear(action, news);
    }

    fn line(&self, text: &str) {
        let lines = self.terminal.style_err().lines(text, 4);
        self.bar.suspend(|| self.terminal.note(&lines));
    }
}
