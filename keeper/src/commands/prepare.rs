//! What plan, apply and destroy do alike: ask the pools, decide, show, carry out.

use reconciler::desired::{Desired, Purpose};
use reconciler::diff::diff;
use reconciler::plan::Plan;
use reconciler::planner::{Options, plan};
use reconciler::resolve::{Known, resolve};

use crate::apply::Apply;
use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::pools::{self, Pools};
use crate::progress::Progress;
use crate::report;
use crate::report::outcome::Report;
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
    terminal: Terminal,
) -> Result<Prepared, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let contents = file.contents()?;
    prepare(global, file, options, terminal, |file, builds| {
        let known = Known { contents, builds };
        resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))
    })
    .await
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
        let count = pool_core::units::count(file.fleet.pools.len(), "pool");
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

    pub fn text(&self, colour: bool) -> String {
        report::plan::text(&self.plan, &self.places(), self.purpose, colour)
    }

    /// Shows the plan and asks whether to go on, unless that was said.
    pub fn confirm(&self, yes: bool, question: &str, terminal: Terminal) -> Result<bool, Failure> {
        if self.plan.is_empty() || yes {
            return Ok(true);
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
        Ok(answer.trim() == "yes")
    }

    /// Carries the plan out and reports; the exit code says whether anything is left.
    pub async fn carry_out(
        self,
        parallelism: usize,
        json: bool,
        terminal: Terminal,
    ) -> Result<Exit, Failure> {
        let interrupt = Interrupt::listen()
            .map_err(|error| Failure::new(format!("cannot listen for signals: {error}")))?;
        let shown = if json {
            Terminal {
                quiet: true,
                ..terminal
            }
        } else {
            terminal
        };
        let progress = Progress::new(shown, self.plan.actions.iter().map(|action| &action.pool));
        let statuses = Apply {
            plan: &self.plan,
            file: &self.file,
            links: &self.pools.links,
            bundles: &self.bundles,
            parallelism,
            progress: &progress,
            interrupt: &interrupt,
        }
        .run()
        .await;
        let report = Report::new(&self.plan, &statuses, self.purpose);
        let exit = report.exit();
        if json {
            terminal.data(&super::json(&report)?);
        } else {
            terminal.data(&report.text(terminal.colour_out));
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
