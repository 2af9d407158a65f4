//! `rbee watch`: follows the fleet file and the pools.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pool_core::name::PoolName;
use reconciler::desired::{Desired, Purpose};
use reconciler::diff::diff;
use reconciler::observed::{Observed, PoolState, Unknown};
use reconciler::plan::{Blocked, Plan};
use reconciler::planner::{Options, plan};
use reconciler::resolve::{Known, resolve};
use similar::{ChangeTag, TextDiff};

use super::prepare::{self, Manner, Prepared, Site};
use super::validate;
use crate::cli::{Global, Watch};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::pools;
use crate::progress::Output;
use crate::progress::event::Event;
use crate::report;
use crate::terminal::{self, Paint, Terminal, paint};
use crate::transport::Bundles;

mod hold;
mod saves;
mod schedule;

use saves::Saves;
use schedule::{Schedule, Turn};

pub async fn run(global: &Global, args: &Watch, terminal: Terminal) -> Result<Exit, Failure> {
    if global.json {
        let failure = Failure::new("a watch has no end, and so no one document");
        return Err(failure.help("use --json-stream").exit(Exit::USAGE));
    }
    let interrupt = Interrupt::listen()?;
    let (file, _) = validate::check(global.file.as_deref())?;
    let mut saves = Saves::of(&file.path)?;
    let mut watcher = Watcher {
        global,
        args,
        terminal,
        interrupt: &interrupt,
        begun: (Instant::now(), Timestamp::now()),
        schedule: Schedule::new(args.interval, std::process::id().into()),
        path: file.path.clone(),
        text: file.text,
        broken: None,
        complaint: None,
        shown: None,
        silent: BTreeMap::new(),
        held: Vec::new(),
    };
    let unread = terminal::unread();
    tokio::pin!(unread);
    let (path, interval) = (file.path.display(), args.interval.as_secs());
    watcher.say(&format!(
        "Following {path}, and the pools every {interval} s. Ctrl-C ends it."
    ));
    loop {
        match watcher.round().await {
            Ok(Exit::INTERRUPTED) => return Ok(watcher.end()),
            Err(failure) if failure.code() == Exit::INTERRUPTED => return Ok(watcher.end()),
            Ok(_) => watcher.complaint = None,
            Err(failure) => watcher.complain(&failure),
        }
        let pause = watcher.schedule.pause(watcher.now());
        tokio::select! {
            biased;
            () = interrupt.times(1) => return Ok(watcher.end()),
            () = &mut unread => return Ok(Exit::DONE),
            () = saves.next() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One watch.
struct Watcher<'a> {
    global: &'a Global,
    args: &'a Watch,
    terminal: Terminal,
    interrupt: &'a Interrupt,
    /// When it began, by both clocks.
    begun: (Instant, Timestamp),
    schedule: Schedule,
    path: PathBuf,
    /// The last text of the fleet file without a mistake: it is in force.
    text: String,
    /// What was said to be wrong with the file since.
    broken: Option<String>,
    /// Why the last round failed.
    complaint: Option<String>,
    /// The plan that was last shown.
    shown: Option<String>,
    /// The pools that do not answer, and why they did not the first time: said the same in every plan until they answer.
    silent: BTreeMap<PoolName, Unknown>,
    /// What the last round did not start, because it was started too lately.
    held: Vec<Blocked>,
}

impl Watcher<'_> {
    fn now(&self) -> Duration {
        self.begun.0.elapsed()
    }

    /// Says what nobody starts from now on.
    fn end(&self) -> Exit {
        for held in &self.held {
            self.say(&format!(
                "Held back when the watch ended: {}: {}. `rbee apply` starts it at once.",
                held.what, held.why
            ));
        }
        Exit::INTERRUPTED
    }

    /// Reads the file, asks the pools that are due, shows the plan, and carries it out where that is wanted.
    async fn round(&mut self) -> Result<Exit, Failure> {
        self.reread();
        let file = FleetFile::of(self.path.clone(), self.text.clone())?;
        let (global, interrupt, terminal) = (self.global, self.interrupt, self.terminal);
        let leases = Leases::new(&file.fleet.name, "rbee watch", Duration::ZERO, terminal);
        let looked = interrupt.before(self.look(&file, &leases)).await;
        let (prepared, is_news) = looked?;
        if !self.args.apply || prepared.plan.is_empty() {
            prepared.close(&leases).await;
            return Ok(Exit::DONE);
        }
        let checked = prepared
            .check_emptied(&file, false)
            .map_err(|refusal| {
                refusal.help("if that is meant, `rbee apply --allow-empty` does it; `rbee destroy` removes the fleet")
            })
            .and_then(|()| prepared.check_outages());
        if let Err(refusal) = checked {
            prepared.close(&leases).await;
            return Err(refusal);
        }
        if !is_news {
            self.say("Again:");
        }
        let spawns = hold::spawns(&prepared.plan);
        let manner = Manner {
            parallelism: self.args.parallelism,
            max_download: None,
            output: global.output(),
        };
        let progress = prepared.progress(manner.output, terminal);
        let exit = prepared
            .carry_out(&leases, manner, &progress, interrupt, terminal)
            .await;
        let now = self.now();
        for (service, spec) in spawns {
            self.schedule.spawned(&service, spec, now);
        }
        exit
    }

    /// Takes what was saved, unless it has mistakes.
    fn reread(&mut self) {
        let checked = validate::check(Some(&self.path));
        if checked.is_ok() {
            self.broken = None;
        }
        match checked {
            Ok((file, _)) if file.text == self.text => {}
            Ok((file, _)) => {
                self.show_diff(&file.text);
                self.forget_moved(&file);
                self.text = file.text;
                self.shown = None;
            }
            Err(failure) => {
                let text = failure.json();
                if self.broken.as_ref() != Some(&text) {
                    self.fail(&failure);
                    self.say("What the file said before stays in force.");
                    self.broken = Some(text);
                }
            }
        }
    }

    /// A pool that is reached in another way now may answer though it did not before.
    fn forget_moved(&mut self, file: &FleetFile) {
        let Ok(before) = FleetFile::of(self.path.clone(), self.text.clone()) else {
            return;
        };
        for (name, pool) in &before.fleet.pools {
            let now = file.fleet.pools.get(name);
            if now.is_none_or(|now| pools::endpoint(now) != pools::endpoint(pool)) {
                self.schedule.forget(name);
                self.silent.remove(name);
            }
        }
    }

    /// Asks the pools that are due and plans; of those that do not answer, or are not asked, the plan says that nothing is
    /// known. Where there is anything to carry out, once more under the leases of the others. Shows the plan where it is another than the last, and says whether it is.
    async fn look(
        &mut self,
        file: &FleetFile,
        leases: &Leases,
    ) -> Result<(Prepared, bool), Failure> {
        let now = self.now();
        self.schedule.round(now);
        let contents = prepare::contents(self.global, file, false, self.terminal).await?;
        let bundles = Bundles::find(self.global.dist.as_deref());
        let mut site = Site::of(file, Purpose::Apply);
        site.declared
            .retain(|pool, _| self.schedule.is_due(pool, now));
        let mut pools = pools::open(site.declared.clone(), &self.global.transport()).await?;
        self.turns(&pools.observed);
        let silent = self.silent.clone().into_iter();
        let silent = silent.map(|(pool, unknown)| (pool, PoolState::Unknown(unknown)));
        pools.observed.pools.extend(silent);
        let builds = pools.builds(&bundles).await;
        let known = Known {
            contents,
            builds,
            configs: file.configs()?,
            ..Known::default()
        };
        let desired = resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))?;
        let mut prepared = Prepared {
            site,
            plan: self.decide(&desired, &pools.observed),
            pools,
            bundles,
        };
        if self.args.apply && !prepared.plan.is_empty() {
            if let Err(refusal) = leases.take(&mut prepared.pools).await {
                prepared.close(leases).await;
                return Err(refusal);
            }
            prepared.plan = self.decide(&desired, &prepared.pools.observed);
        }
        let is_news = self.show(&prepared);
        Ok((prepared, is_news))
    }

    /// What is to be done now, and what is to be done later.
    fn decide(&mut self, desired: &Desired, observed: &Observed) -> Plan {
        let mut drift = diff(desired, observed);
        self.settle(&drift, observed);
        self.held = if self.args.apply {
            self.hold(&mut drift)
        } else {
            Vec::new()
        };
        plan(&drift, Options::default())
    }

    /// Says which pools went and came back.
    fn turns(&mut self, observed: &Observed) {
        let now = self.now();
        for (pool, state) in &observed.pools {
            let gone = match state {
                PoolState::Unknown(unknown) if unknown.unreachable => Some(unknown),
                _ => None,
            };
            match (self.schedule.answered(pool, gone.is_none(), now), gone) {
                (Some(Turn::Gone), Some(unknown)) => {
                    let cause = &unknown.cause;
                    self.say(&format!(
                        "Pool {pool} is unreachable: {cause}. It is asked ever more rarely until it answers."
                    ));
                    self.silent.insert(pool.clone(), unknown.clone());
                }
                (Some(Turn::Back), _) => {
                    self.say(&format!("Pool {pool} answers again."));
                    self.silent.remove(pool);
                }
                _ => {}
            }
        }
    }

    /// Shows the plan where it is another than the last; whether it is.
    fn show(&mut self, prepared: &Prepared) -> bool {
        let (places, style) = (prepared.places(), self.terminal.style());
        let text = report::plan::text(&prepared.plan, &places, prepared.site.origin(), style);
        if self.shown.as_ref() == Some(&text) {
            return false;
        }
        let progress = prepared.show(self.global.output(), self.terminal);
        if !self.args.apply || prepared.plan.is_empty() {
            progress.summary(&prepared.plan, None, prepared.exit().0);
        }
        self.shown = Some(text);
        true
    }

    /// What changed in the file, line by line.
    fn show_diff(&self, now: &str) {
        let name = self.path.display().to_string();
        let diff = TextDiff::from_lines(self.text.as_str(), now);
        let colour = self.terminal.colour_out;
        let mut text = paint(colour, Paint::Bold, &format!("{name} was saved")) + "\n";
        for hunk in diff.unified_diff().context_radius(2).iter_hunks() {
            text += &paint(colour, Paint::Dim, &hunk.header().to_string());
            text.push('\n');
            for change in hunk.iter_changes() {
                let (sign, is) = match change.tag() {
                    ChangeTag::Delete => ('-', Some(Paint::Bad)),
                    ChangeTag::Insert => ('+', Some(Paint::Good)),
                    ChangeTag::Equal => (' ', None),
                };
                let line = format!("{sign}{}", change.value().trim_end());
                text += &is.map_or(line.clone(), |is| paint(colour, is, &line));
                text.push('\n');
            }
        }
        match self.global.output() {
            Output::JsonStream => self.say(&text),
            _ => self.terminal.data(&format!("\n{text}\n")),
        }
    }

    fn say(&self, text: &str) {
        match self.global.output() {
            Output::JsonStream => self.terminal.event(&Event::Note { message: text }),
            _ => self.terminal.note(&format!("{text}\n")),
        }
    }

    /// Says why a round failed, unless the one before did for the same reason.
    fn complain(&mut self, failure: &Failure) {
        let text = failure.json();
        if self.complaint.as_ref() != Some(&text) {
            self.fail(failure);
            self.complaint = Some(text);
        }
    }

    fn fail(&self, failure: &Failure) {
        self.terminal.failure(failure);
        if self.global.output() == Output::JsonStream {
            self.say(&failure.report().what);
        }
    }
}
