//! What is going on: bars on a terminal, plain lines elsewhere, or a stream of JSON for programs.

use std::fmt::Write;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use pool_core::units;
use reconciler::plan::{Action, Plan};

use crate::actions::Fault;
use crate::apply::{Status, lock};
use crate::report::outcome::Report;
use crate::terminal::{Paint, Terminal, paint};

pub mod event;
mod meter;

use event::{Event, Name, NotDone};
use meter::Meter;

/// What a command prints to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Text,
    /// One document, at the end.
    Json,
    /// One event a line, as they come.
    JsonStream,
}

/// The progress of one run.
#[derive(Debug)]
pub struct Progress {
    terminal: Terminal,
    sink: Sink,
    pool_width: usize,
}

#[derive(Debug)]
enum Sink {
    Bars(MultiProgress),
    Lines,
    Stream,
}

/// One action under way.
#[derive(Debug)]
pub struct Step<'a> {
    progress: &'a Progress,
    action: &'a Action,
    pool: &'a str,
    what: String,
    bar: Option<ProgressBar>,
    begun: Instant,
    meter: Mutex<Meter>,
}

impl Progress {
    pub fn new(terminal: Terminal, output: Output, plan: &Plan) -> Self {
        let pools = plan.actions.iter().map(|action| action.pool.as_str().len());
        let mut terminal = terminal;
        terminal.quiet |= output == Output::Json;
        let draws = terminal.draws && !terminal.quiet;
        Self {
            sink: match output {
                Output::JsonStream => Sink::Stream,
                Output::Text if draws => {
                    Sink::Bars(MultiProgress::with_draw_target(ProgressDrawTarget::stderr()))
                }
                Output::Text | Output::Json => Sink::Lines,
            },
            terminal,
            pool_width: pools.max().unwrap_or(0),
        }
    }

    /// Says what will be done, to programs alone: people have read the plan.
    pub fn planned(&self, plan: &Plan) {
        for action in &plan.actions {
            self.send(&Event::PlannedAction {
                name: Name::of(action),
                reason: action.reason.to_string(),
                needs: &action.needs,
                after: &action.after,
            });
        }
    }

    /// Says to programs what a plan comes to, and where it was carried out what became of it.
    pub fn summary(&self, plan: &Plan, carried_out: Option<&Report>, exit: u8) {
        let mut not_done = Vec::new();
        for (action, status) in plan
            .actions
            .iter()
            .zip(carried_out.map_or(&[][..], |r| r.statuses))
        {
            if matches!(
                status,
                Status::Skipped { .. } | Status::NotStarted | Status::Cut
            ) {
                let name = Name::of(action);
                not_done.push(NotDone { name, status });
            }
        }
        self.send(&Event::Summary {
            exit,
            planned: plan.totals(),
            done: carried_out.map(|report| &report.done),
            not_done,
            blocked: &plan.blocked,
            unknown: &plan.unknown,
            warnings: &plan.warnings,
            outages: &plan.outages,
            bills: &plan.bills,
            left_out: plan.left_out.as_ref(),
        });
    }

    /// Begins an action; `bytes` when it moves that many.
    pub fn step<'a>(&'a self, action: &'a Action, bytes: Option<u64>) -> Step<'a> {
        let (pool, what) = (action.pool.as_str(), action.kind.to_string());
        let bar = match &self.sink {
            Sink::Bars(bars) => Some(self.bar(bars, pool, &what, bytes)),
            Sink::Lines => {
                let width = self.pool_width;
                self.line(&format!("  {pool:width$}  {what} ..."));
                None
            }
            Sink::Stream => {
                let name = Name::of(action);
                self.send(&Event::ApplyStart { name, total: bytes });
                None
            }
        };
        let begun = Instant::now();
        let meter = match self.sink {
            Sink::Stream => Meter::new(Duration::from_millis(250), None),
            Sink::Bars(_) | Sink::Lines => Meter::new(Duration::from_secs(10), Some(begun)),
        };
        Step {
            progress: self,
            action,
            pool,
            what,
            bar,
            begun,
            meter: Mutex::new(meter),
        }
    }

    fn bar(&self, bars: &MultiProgress, pool: &str, what: &str, bytes: Option<u64>) -> ProgressBar {
        let bar = bars.add(match bytes {
            Some(bytes) => ProgressBar::new(bytes),
            None => ProgressBar::new_spinner(),
        });
        let template = match bytes {
            Some(_) => "  {prefix} {wide_bar} {done} of {all} {rate} {eta}",
            None => "  {prefix} {spinner} {wide_msg}",
        };
        // A template of this file: it parses.
        let style = ProgressStyle::with_template(template);
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        // In the words of the plan and of the report.
        let bytes = |count: fn(&ProgressState) -> u64, end: &'static str| {
            move |state: &ProgressState, out: &mut dyn Write| {
                let _ = write!(out, "{}{end}", units::bytes(count(state)));
            }
        };
        let style = style
            .with_key("done", bytes(ProgressState::pos, ""))
            .with_key("all", bytes(|state| state.len().unwrap_or(0), ""))
            .with_key("rate", bytes(|state| state.per_sec() as u64, "/s"));
        bar.set_style(style);
        let width = self.pool_width;
        bar.set_prefix(format!("{pool:width$}  {what}"));
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    /// A line that stays, above the bars.
    pub fn line(&self, text: &str) {
        match &self.sink {
            Sink::Bars(bars) => bars.suspend(|| self.terminal.note(&format!("{text}\n"))),
            Sink::Lines => self.terminal.note(&format!("{text}\n")),
            Sink::Stream => self.send(&Event::Note { message: text }),
        }
    }

    fn send(&self, event: &Event) {
        if matches!(self.sink, Sink::Stream) {
            self.terminal.event(event);
        }
    }
}

impl Step<'_> {
    /// So many of so many bytes are there.
    pub fn bytes(&self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let mut meter = lock(&self.meter);
        let now = Instant::now();
        meter.bytes(now, done, total);
        self.tell(&mut meter, now);
    }

    /// What it does now.
    pub fn say(&self, message: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(message.to_owned());
            return;
        }
        let mut meter = lock(&self.meter);
        message.clone_into(&mut meter.message);
        self.tell(&mut meter, Instant::now());
    }

    /// What was got around.
    pub fn note(&self, text: &str) {
        let pool = self.pool;
        self.progress.line(&format!("note: {pool}: {text}"));
    }

    fn tell(&self, meter: &mut Meter, now: Instant) {
        if !meter.is_due(now) {
            return;
        }
        let (rate, eta_s) = (meter.rate(now), meter.eta_s(now));
        match (&self.progress.sink, meter.moved) {
            (Sink::Stream, moved) => self.progress.send(&Event::ApplyProgress {
                name: self.name(),
                done: moved.map(|moved| moved.done),
                total: moved.map(|moved| moved.total),
                rate,
                eta_s,
                message: &meter.message,
            }),
            (Sink::Lines, Some(_)) => {
                let width = self.progress.pool_width;
                let (pool, what) = (&self.pool, &self.what);
                self.progress
                    .line(&format!("  {pool:width$}  {what} {}", meter.text(now)));
            }
            (Sink::Lines, None) | (Sink::Bars(_), _) => {}
        }
    }

    fn name(&self) -> Name<'_> {
        Name::of(self.action)
    }

    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How long it took.
    fn time(&self) -> String {
        let time = format!("({:.1} s)", self.elapsed().as_secs_f64());
        paint(self.progress.terminal.colour_err, Paint::Dim, &time)
    }

    pub fn done(self, detail: &str) {
        let ms = u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX);
        let name = self.name();
        self.progress
            .send(&Event::ApplyComplete { name, detail, ms });
        let colour = self.progress.terminal.colour_err;
        let detail = if detail.is_empty() {
            String::new()
        } else {
            format!(": {detail}")
        };
        let text = format!(
            "{}{detail} {}",
            paint(colour, Paint::Good, "done"),
            self.time()
        );
        self.end(&text);
    }

    pub fn failed(self, fault: &Fault) {
        self.progress.send(&Event::ApplyErrored {
            name: self.name(),
            fault,
        });
        // Why, the report says.
        let colour = self.progress.terminal.colour_err;
        let text = format!("{} {}", paint(colour, Paint::Bad, "failed"), self.time());
        self.end(&text);
    }

    /// It is left to be taken up by a later run.
    pub fn cut(self) {
        let colour = self.progress.terminal.colour_err;
        let text = format!("{}: what came is kept", paint(colour, Paint::Change, "cut"));
        self.end(&text);
    }

    fn end(self, text: &str) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if !matches!(self.progress.sink, Sink::Stream) {
            let width = self.progress.pool_width;
            let (pool, what) = (&self.pool, &self.what);
            self.progress
                .line(&format!("  {pool:width$}  {what} {text}"));
        }
    }
}
