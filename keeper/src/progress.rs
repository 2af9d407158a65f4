//! What is going on: bars on a terminal, plain lines elsewhere, or a stream of JSON for programs.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use reconciler::plan::{Action, Plan};
use unicode_width::UnicodeWidthStr as _;

use crate::actions::{self, Fault};
use crate::apply::{Status, lock};
use crate::report::outcome::Report;
use crate::terminal::{Paint, Silence, Terminal, paint};

pub mod bar;
pub mod event;
mod follow;
mod meter;

use bar::Bars;
use event::{Event, Name, NotDone};
pub use follow::{Follow, News};
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
    Bars(Bars),
    Lines,
    Stream,
    Followed(Arc<dyn Follow>),
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
        let pool_width = pools.max().unwrap_or(0);
        let mut terminal = terminal;
        terminal.quiet |= output == Output::Json;
        let draws = terminal.draws && !terminal.quiet;
        Self {
            sink: match output {
                Output::JsonStream => Sink::Stream,
                Output::Text if draws => {
                    let moving = plan
                        .actions
                        .iter()
                        .filter(|one| actions::bytes(one).is_some());
                    let names = moving.map(|action| name(action, pool_width).width());
                    Sink::Bars(Bars::new(terminal, names.max().unwrap_or(0)))
                }
                Output::Text | Output::Json => Sink::Lines,
            },
            terminal,
            pool_width,
        }
    }

    /// One that somebody else shows.
    pub fn followed(terminal: Terminal, by: Arc<dyn Follow>) -> Self {
        Self {
            terminal,
            sink: Sink::Followed(by),
            pool_width: 0,
        }
    }

    /// For as long as bars are drawn.
    pub fn silence(&self) -> Option<Silence> {
        match self.sink {
            Sink::Bars(_) => Silence::begin(),
            _ => None,
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
            Sink::Bars(bars) => Some(bars.add(&name(action, self.pool_width), bytes)),
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
            Sink::Followed(by) => {
                by.hear(action, News::Begun);
                None
            }
        };
        let begun = Instant::now();
        let meter = match self.sink {
            Sink::Stream => Meter::new(Duration::from_millis(250), None),
            _ => Meter::new(Duration::from_secs(10), Some(begun)),
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

    /// A line that stays, above the bars.
    pub fn line(&self, text: &str) {
        match &self.sink {
            Sink::Bars(bars) => bars.line(text),
            Sink::Lines => self.terminal.note(&format!("{text}\n")),
            Sink::Stream => self.send(&Event::Note { message: text }),
            Sink::Followed(by) => by.line(text),
        }
    }

    fn send(&self, event: &Event) {
        if matches!(self.sink, Sink::Stream) {
            self.terminal.event(event);
        }
    }
}

/// The pool and what is done there.
fn name(action: &Action, pool_width: usize) -> String {
    format!("{:pool_width$}  {}", action.pool.as_str(), action.kind)
}

impl Step<'_> {
    /// So many of so many bytes are there.
    pub fn bytes(&self, done: u64, total: u64) {
        self.hear(News::Bytes { done, total });
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
        self.hear(News::Said);
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
            (Sink::Lines, None) | (Sink::Bars(_) | Sink::Followed(_), _) => {}
        }
    }

    fn hear(&self, news: News) {
        if let Sink::Followed(by) = &self.progress.sink {
            by.hear(self.action, news);
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
        self.hear(News::Over);
        if !matches!(self.progress.sink, Sink::Stream | Sink::Followed(_)) {
            let width = self.progress.pool_width;
            let (pool, what) = (&self.pool, &self.what);
            self.progress
                .line(&format!("  {pool:width$}  {what} {text}"));
        }
    }
}
