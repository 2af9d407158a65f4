//! What plan, apply and destroy do alike: ask the pools, decide, show, carry out.

use pool_core::name::ModelId;
use pool_core::source::Source;
use pool_core::supply::HubAccess;
use pool_core::units;
use reconciler::desired::{Desired, Purpose};
use reconciler::diff::diff;
use reconciler::plan::Plan;
use reconciler::planner::{Options, plan};
use reconciler::resolve::{Known, resolve};

use super::lock::short;
use crate::apply::Apply;
use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::{Contents, FleetFile};
use crate::hub;
use crate::interrupt::Interrupt;
use crate::lock_file::LockFile;
use crate::pools::{self, Pools};
use crate::progress::{Output, Progress};
use crate::report;
use crate::report::outcome::{Report, stops};
use crate::report::plan::Places;
use crate::terminal::Terminal;
use crate::transport::Bundles;

/// A fleet, its pools, and what is to be done.
pub struct Prepared {
    pub file: FleetFile,
    pub pools: Pools,
    pub bundles: Bundles,
    pub plan: Plan,
    pub purpose: Purpose,
}

/// Asks every pool and plans to bring it to what the fleet file says.
pub async fn to_apply(
    global: &Global,
    options: Options,
    must_be_locked: bool,
    terminal: Terminal,
) -> Result<Prepared, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let contents = contents(global, &file, must_be_locked, terminal).await?;
    prepare(global, file, options, terminal, |file, builds| {
        let known = Known { contents, builds };
        resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))
    })
    .await
}

/// What each model is. One of the hub that is not locked is looked up and locked; one that cannot be is not known.
pub async fn contents(
    global: &Global,
    file: &FleetFile,
    must_be_locked: bool,
    terminal: Terminal,
) -> Result<Contents, Failure> {
    let locked = LockFile::beside(&file.path)?;
    let models = file
        .hub_models()
        .map(|(id, source)| (id.clone(), source.clone()));
    let is_open = |(id, source): &(ModelId, Source)| locked.lock.get(id, source).is_none();
    let open: Vec<_> = models.filter(is_open).collect();
    if must_be_locked && !open.is_empty() {
        let names: Vec<&str> = open.iter().map(|(id, _)| id.as_str()).collect();
        let what = format!(
            "{} lacks {}, and --locked forbids to look it up",
            locked.name(),
            names.join(", ")
        );
        return Err(Failure::new(what).help("`rbee lock` looks it up and writes it"));
    }
    let bundles = Bundles::find(global.dist.as_deref());
    let found = hub::look_up(&open, &HubAccess::from_env(), &bundles, &global.transport()).await;
    // Looking up takes a while: another run may have written the file meanwhile.
    let mut locked = if found.iter().any(Result::is_ok) {
        LockFile::beside(&file.path)?
    } else {
        locked
    };
    let (mut unknown, mut notes) = (Contents::new(), String::new());
    for ((id, _), found) in open.into_iter().zip(found) {
        match found {
            Ok(found) => {
                let (commit, name) = (short(&found.commit), locked.name());
                notes += &format!("note: locked {id} at {commit} ({name})\n");
                locked.lock.models.insert(id, found);
            }
            Err(error) => {
                let help = error.help.map(|help| format!("; {help}"));
                let why = format!("{}{}", error.what, help.unwrap_or_default());
                unknown.insert(id, Err(why));
            }
        }
    }
    if !notes.is_empty() {
        locked.save()?;
        terminal.note(&notes);
    }
    let mut contents = file.contents(&locked.lock)?;
    contents.extend(unknown);
    Ok(contents)
}

/// Asks every pool and plans to leave nothing of the fleet there.
pub async fn to_destroy(
    global: &Global,
    options: Options,
    terminal: Terminal,
) -> Result<Prepared, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    prepare(global, file, options, terminal, |file, _| {
        Ok(Desired::nothing(
            file.fleet.name.value.clone(),
            file.fleet.pools.keys().cloned(),
        ))
    })
    .await
}

async fn prepare(
    global: &Global,
    file: FleetFile,
    options: Options,
    terminal: Terminal,
    desire: impl FnOnce(&FleetFile, reconciler::desired::Builds) -> Result<Desired, Failure>,
) -> Result<Prepared, Failure> {
    let bundles = Bundles::find(global.dist.as_deref());
    if terminal.draws {
        let count = units::count(file.fleet.pools.len(), "pool");
        terminal.note(&format!("Asking {count} ...\n"));
    }
    let pools = pools::observe(&file.fleet, &global.transport()).await;
    let builds = pools.builds(&bundles).await;
    let desired = desire(&file, builds)?;
    let purpose = desired.purpose;
    let plan = plan(&diff(&desired, &pools.observed), options);
    Ok(Prepared {
        file,
        pools,
        bundles,
        plan,
        purpose,
    })
}

impl Prepared {
    pub fn places(&self) -> Places {
        let pools = self.file.fleet.pools.iter();
        pools
            .map(|(name, pool)| (name.clone(), pool.connect.to_string()))
            .collect()
    }

    /// Shows the plan, and begins the stream of its progress.
    pub fn show(&self, output: Output, terminal: Terminal) -> Progress {
        let progress = self.progress(output, terminal);
        match output {
            Output::Text => {
                let (places, style) = (self.places(), terminal.style());
                let text = report::plan::text(&self.plan, &places, self.purpose, style);
                terminal.data(&text);
            }
            Output::Json => {}
            Output::JsonStream => progress.planned(&self.plan),
        }
        progress
    }

    pub fn progress(&self, output: Output, terminal: Terminal) -> Progress {
        Progress::new(terminal, output, &self.plan)
    }

    /// Refuses to take things away because the fleet file names no worker any more.
    pub fn check_emptied(&self, is_allowed: bool) -> Result<(), Failure> {
        let stopped = stops(&self.plan);
        if is_allowed || stopped == 0 || !self.file.fleet.workers.is_empty() {
            return Ok(());
        }
        let what = format!("the fleet file names no worker, and {stopped} things would go");
        Err(Failure::new(what)
            .at(self.file.path.display().to_string())
            .help("if that is meant, `--allow-empty` goes on; `rbee destroy` removes the fleet"))
    }

    /// Ends the stream of a plan that is not carried out.
    pub fn refused(&self, progress: &Progress, failure: Failure) -> Failure {
        progress.summary(&self.plan, None, failure.code().0);
        failure
    }

    /// Refuses a plan that downloads more than it may.
    pub fn check_download(&self, most: Option<u64>) -> Result<(), Failure> {
        let Some(most) = most else {
            return Ok(());
        };
        let bytes = self.plan.download_bytes();
        if bytes <= most {
            return Ok(());
        }
        let [mut wanted, mut allowed] = [bytes, most].map(units::bytes);
        if wanted == allowed {
            [wanted, allowed] = [bytes, most].map(|bytes| format!("{bytes} bytes"));
        }
        let what = format!(
            "the plan downloads {wanted} from the hub, and --max-download allows {allowed}"
        );
        Err(Failure::new(what).help("a larger --max-download lets it; nothing was moved"))
    }

    /// Asks whether to go on, unless that was said.
    pub fn confirm(&self, yes: bool, question: &str, terminal: Terminal) -> Result<(), Failure> {
        if self.plan.is_empty() || yes {
            return Ok(());
        }
        if !terminal.asks {
            return Err(Failure::new(
                "there is nobody to ask whether to go on: this is no terminal",
            )
            .help("`--yes` goes on without asking"));
        }
        eprint_question(question);
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| Failure::new(format!("cannot read the answer: {error}")))?;
        if answer.trim() == "yes" {
            Ok(())
        } else {
            Err(Failure::new("nothing was done: the answer was not `yes`"))
        }
    }

    /// Carries the plan out and reports; the exit code says whether anything is left.
    pub async fn carry_out(
        self,
        parallelism: usize,
        max_download: Option<u64>,
        output: Output,
        progress: &Progress,
        terminal: Terminal,
    ) -> Result<Exit, Failure> {
        let interrupt = Interrupt::listen()
            .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
        let statuses = Apply {
            plan: &self.plan,
            file: &self.file,
            links: &self.pools.links,
            bundles: &self.bundles,
            parallelism,
            access: &HubAccess::from_env(),
            max_download,
            progress,
            interrupt: &interrupt,
        }
        .run()
        .await;
        let report = Report::new(&self.plan, &statuses, self.purpose);
        let exit = report.exit();
        match output {
            Output::Text => terminal.data(&report.text(terminal.colour_out)),
            Output::Json => terminal.data(&super::json(&report)?),
            Output::JsonStream => progress.summary(&self.plan, Some(&report), exit.0),
        }
        if exit != Exit::INTERRUPTED {
            self.pools.close().await;
        }
        Ok(exit)
    }
}

fn eprint_question(question: &str) {
    use std::io::Write;
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\n{question} Only `yes` goes on: ").and_then(|()| err.flush());
}
