//! What plan, apply and destroy do alike: ask the pools, decide, show, carry out.

use std::collections::BTreeMap;
use std::path::PathBuf;

use pool_core::name::{ModelId, PoolName};
use pool_core::source::Source;
use pool_core::supply::HubAccess;
use pool_core::units;
use reconciler::desired::{Builds, Desired, Purpose};
use reconciler::diff::diff;
use reconciler::observed::Observed;
use reconciler::plan::Plan;
use reconciler::planner::{self, Options, plan};
use reconciler::resolve::{Known, resolve};
use reconciler::targets::Targets;

use super::lock::short;
use crate::apply::Apply;
use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::{Contents, FleetFile};
use crate::hub;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::lock_file::LockFile;
use crate::pools::{self, Declared, Pools};
use crate::progress::{Output, Progress};
use crate::report;
use crate::report::outcome::{Report, stops};
use crate::report::plan::{Origin, Places};
use crate::terminal::Terminal;
use crate::transport::Bundles;

/// What is asked, and why.
#[derive(Debug)]
pub struct Site {
    pub declared: BTreeMap<PoolName, Declared>,
    /// Where folders of models are found from.
    pub folder: PathBuf,
    pub purpose: Purpose,
    /// The plan is not made from the answers.
    pub is_saved: bool,
}

/// Pools, and what is to be done there.
#[derive(Debug)]
pub struct Prepared {
    pub site: Site,
    pub pools: Pools,
    pub bundles: Bundles,
    pub plan: Plan,
}

/// How a plan is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    pub parallelism: usize,
    pub max_download: Option<u64>,
    pub output: Output,
}

/// What of the fleet file is to be brought about, and how.
#[derive(Debug)]
pub struct Wish {
    pub options: Options,
    pub targets: Targets,
    /// A model of the hub that is not locked is a failure.
    pub must_be_locked: bool,
}

/// Asks every pool, under these leases where it is to be carried out, and plans to bring it to what the fleet file says.
pub async fn to_apply(
    global: &Global,
    file: &FleetFile,
    wish: Wish,
    leases: Option<&Leases>,
    terminal: Terminal,
) -> Result<Prepared, Failure> {
    let Wish {
        options,
        targets,
        must_be_locked,
    } = wish;
    let contents = contents(global, file, must_be_locked, terminal).await?;
    let configs = file.configs()?;
    let decide = |observed: &Observed, builds| {
        let known = Known {
            contents,
            builds,
            configs,
            ..Known::default()
        };
        let desired = resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))?;
        let checked = targets.check(&file.fleet, &desired, observed);
        checked.map_err(|none| Failure::new(none.to_string()).help(none.help))?;
        let drift = diff(&desired, observed);
        Ok(planner::part(&drift, &desired, &targets, options))
    };
    let site = Site::of(file, Purpose::Apply);
    site.prepare(global, leases, terminal, decide).await
}

/// Asks every pool and plans to leave nothing of the fleet there.
pub async fn to_destroy(
    global: &Global,
    file: &FleetFile,
    options: Options,
    leases: &Leases,
    terminal: Terminal,
) -> Result<Prepared, Failure> {
    let decide = |observed: &Observed, _| {
        let pools = file.fleet.pools.keys().cloned();
        let desired = Desired::nothing(file.fleet.name.value.clone(), pools);
        Ok(plan(&diff(&desired, observed), options))
    };
    let site = Site::of(file, Purpose::Destroy);
    site.prepare(global, Some(leases), terminal, decide).await
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

impl Site {
    pub fn of(file: &FleetFile, purpose: Purpose) -> Self {
        Self {
            declared: pools::declared(&file.fleet),
            folder: file.folder(""),
            purpose,
            is_saved: false,
        }
    }

    pub fn origin(&self) -> Origin {
        if self.is_saved {
            Origin::Saved
        } else {
            self.purpose.into()
        }
    }

    /// Asks every pool, once more under its lease, and decides from the last answer.
    pub async fn prepare(
        self,
        global: &Global,
        leases: Option<&Leases>,
        terminal: Terminal,
        decide: impl FnOnce(&Observed, Builds) -> Result<Plan, Failure>,
    ) -> Result<Prepared, Failure> {
        let bundles = Bundles::find(global.dist.as_deref());
        if terminal.draws {
            let count = units::count(self.declared.len(), "pool");
            terminal.note(&format!("Asking {count} ...\n"));
        }
        // Most pools are like this machine: their build is hashed while they are asked.
        let transport = global.transport();
        let asked = pools::open(self.declared.clone(), &transport);
        let (pools, _) = tokio::join!(asked, bundles.here());
        let mut pools = pools?;
        let decided = async {
            if let Some(leases) = leases {
                leases.take(&mut pools).await?;
            }
            let builds = pools.builds(&bundles).await;
            decide(&pools.observed, builds)
        }
        .await;
        match decided {
            Ok(plan) => Ok(Prepared {
                site: self,
                pools,
                bundles,
                plan,
            }),
            Err(failure) => {
                if let Some(leases) = leases {
                    leases.end().await;
                }
                pools.close().await;
                Err(failure)
            }
        }
    }
}

impl Prepared {
    pub fn places(&self) -> Places {
        let pools = self.site.declared.iter();
        pools
            .map(|(name, pool)| (name.clone(), pool.endpoint.to_string()))
            .collect()
    }

    /// Shows the plan, and begins the stream of its progress.
    pub fn show(&self, output: Output, terminal: Terminal) -> Progress {
        let progress = self.progress(output, terminal);
        match output {
            Output::Text => {
                let (places, style) = (self.places(), terminal.style());
                let text = report::plan::text(&self.plan, &places, self.site.origin(), style);
                terminal.data(&text);
            }
            Output::Json => {}
            Output::JsonStream => progress.planned(&self.plan),
        }
        progress
    }

    /// What is not as the fleet file says and stays so, as an exit code.
    pub fn exit(&self) -> Exit {
        let unknown = &self.plan.unknown;
        if unknown.iter().any(|pool| !pool.unknown.unreachable) || !self.plan.blocked.is_empty() {
            Exit::ERROR
        } else if unknown.is_empty() {
            Exit::DONE
        } else {
            Exit::UNREACHABLE
        }
    }

    pub fn progress(&self, output: Output, terminal: Terminal) -> Progress {
        Progress::new(terminal, output, &self.plan)
    }

    /// Refuses to take things away because the fleet file names no worker any more.
    pub fn check_emptied(&self, file: &FleetFile, is_allowed: bool) -> Result<(), Failure> {
        let stopped = stops(&self.plan);
        if is_allowed || stopped == 0 || !file.fleet.workers.is_empty() {
            return Ok(());
        }
        let things = units::count(stopped, "thing");
        let what = format!("the fleet file names no worker, and {things} would go");
        Err(Failure::new(what)
            .at(file.path.display().to_string())
            .help("if that is meant, `--allow-empty` goes on; `rbee destroy` removes the fleet"))
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

    /// The models that would be down for longer than they may.
    pub fn outages_too_long(&self) -> Vec<String> {
        let outages = self.plan.outages.iter();
        outages
            .filter(|outage| outage.is_too_long())
            .map(|outage| {
                let seconds = |ms: u64| format!("{:.1} s", ms as f64 / 1000.0);
                let down = outage.ms.map_or_else(
                    || "for nobody knows how long".to_owned(),
                    |ms| format!("for about {}", seconds(ms)),
                );
                let most = seconds(outage.max_ms.unwrap_or(0));
                format!(
                    "{} would be down {down}, and max_outage allows {most}",
                    outage.model
                )
            })
            .collect()
    }

    /// Refuses a plan during which any is.
    pub fn check_outages(&self) -> Result<(), Failure> {
        let words = self.outages_too_long();
        if words.is_empty() {
            return Ok(());
        }
        let help = "another worker of it that stays, or memory for both, avoids that; \
                    a larger max_outage allows it; nothing was moved";
        Err(Failure::new(words.join("\n       "))
            .help(help)
            .exit(Exit::GATE))
    }

    /// Asks whether to go on, unless that was said.
    pub async fn confirm(
        &self,
        yes: bool,
        question: &str,
        terminal: Terminal,
    ) -> Result<(), Failure> {
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
        let (sender, answer) = tokio::sync::oneshot::channel();
        // A thread of its own: one that waits for a line does not keep the program from ending.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = std::io::stdin().read_line(&mut line);
            // Nobody waits any more after an interruption.
            sender.send(read.map(|_| line)).ok();
        });
        match answer.await {
            Ok(Ok(line)) if line.trim() == "yes" => Ok(()),
            Ok(Err(error)) => Err(Failure::new(format!("cannot read the answer: {error}"))),
            _ => Err(Failure::new("nothing was done: the answer was not `yes`")),
        }
    }

    /// Carries the plan out and reports; the exit code says whether anything is left.
    pub async fn carry_out(
        self,
        leases: &Leases,
        manner: Manner,
        progress: &Progress,
        interrupt: &Interrupt,
        terminal: Terminal,
    ) -> Result<Exit, Failure> {
        let statuses = Apply {
            plan: &self.plan,
            folder: &self.site.folder,
            links: &self.pools.links,
            leases,
            bundles: &self.bundles,
            parallelism: manner.parallelism,
            access: &HubAccess::from_env(),
            max_download: manner.max_download,
            progress,
            interrupt,
        }
        .run()
        .await;
        let report = Report::new(&self.plan, &statuses, self.site.purpose);
        let exit = report.exit();
        match manner.output {
            Output::Text => terminal.data(&report.text(terminal.style())),
            Output::Json => terminal.data(&super::json(&report)?),
            Output::JsonStream => progress.summary(&self.plan, Some(&report), exit.0),
        }
        // What is under way is left as it is.
        if exit != Exit::INTERRUPTED {
            self.close(leases).await;
        }
        Ok(exit)
    }

    /// Lets every pool go, and ends the connections.
    pub async fn close(self, leases: &Leases) {
        leases.end().await;
        self.pools.close().await;
    }
}

fn eprint_question(question: &str) {
    use std::io::Write;
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "\n{question} Only `yes` goes on: ").and_then(|()| err.flush());
}
