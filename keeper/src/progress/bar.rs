//! Bars of what is under way, one below the other: each one line, its numbers in columns.

use std::fmt::Write;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use pool_core::units;
use unicode_width::UnicodeWidthStr as _;

use super::meter;
use crate::report::table;
use crate::terminal::{self, Terminal};

/// From one turn of a spinner to the next.
pub const TICK: Duration = Duration::from_millis(120);
/// What stands beside the name of an action: its bytes, their rate and time, and a bar of ten columns at least.
const BESIDE: usize = 54;
const BYTES: &str = "  {prefix} {wide_bar} {done:>8} of {all:8} {rate:>10} {left:>6}";
const SAYS: &str = "  {prefix} {spinner} {wide_msg}";
const DOTS: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const DASHES: [&str; 4] = ["|", "/", "-", "\\"];

/// All bars of a run.
#[derive(Debug)]
pub(super) struct Bars {
    terminal: Terminal,
    all: MultiProgress,
    /// Columns of the names of actions that move bytes.
    width: usize,
}

impl Bars {
    pub fn new(terminal: Terminal, width: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self {
            terminal,
            all,
            width,
        }
    }

    /// One more; with `bytes` when it moves that many.
    pub fn add(&self, name: &str, bytes: Option<u64>) -> ProgressBar {
        let template = if bytes.is_some() { BYTES } else { SAYS };
        // Templates of this file: they parse.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        // In the words of the plan and of the report.
        let style = style
            .with_key("done", |state: &ProgressState, out: &mut dyn Write| {
                let _ = out.write_str(&units::bytes(state.pos()));
            })
            .with_key("all", |state: &ProgressState, out: &mut dyn Write| {
                let _ = out.write_str(&units::bytes(state.len().unwrap_or(0)));
            })
            .with_key("rate", |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{}/s", units::bytes(state.per_sec() as u64));
            })
            .with_key("left", |state: &ProgressState, out: &mut dyn Write| {
                if state.per_sec() >= 1.0 {
                    let _ = out.write_str(&meter::time(state.eta().as_secs()));
                }
            });
        let spinner = spinner(self.terminal.unicode);
        let style = style.tick_strings(spinner);
        let style = style.progress_chars(if self.terminal.unicode {
            "━╸─"
        } else {
            "=>-"
        });
        let most = terminal::screen().0.saturating_sub(BESIDE);
        let (bar, name) = match bytes {
            Some(bytes) => {
                let name = table::cut(name, most);
                let room = self.width.min(most).saturating_sub(name.width());
                (ProgressBar::new(bytes), name + &" ".repeat(room))
            }
            None => (ProgressBar::new_spinner(), name.to_owned()),
        };
        let bar = self.all.add(bar);
        bar.set_style(style);
        bar.set_prefix(name);
        bar.enable_steady_tick(TICK);
        bar
    }

    /// A line above them.
    pub fn line(&self, text: &str) {
        let lines = self.terminal.style_err().lines(text, 4);
        self.all.suspend(|| self.terminal.note(&lines));
    }
}

/// How a spinner turns.
pub fn spinner(unicode: bool) -> &'static [&'static str] {
    if unicode { &DOTS } else { &DASHES }
}
