//! The core and the relay under a virtual clock, with clients, workers and faults that a seed decides.
//!
//! Nothing here is timed by a real clock: an hour of a fleet passes in seconds, and the same seed gives the same run, so a
//! violation is found again by its seed. Workers send the very bytes that real ones send; the core and the relay are those of
//! the daemon. What is played here is the world around them, and the shell that drives them.
//!
//! | module | holds |
//! |---|---|
//! | `world` | the virtual clock and what happens in it |
//! | `shell` | what the daemon does between requests and core |
//! | `run` | what it does between core and workers |
//! | `restart` | what it does after it was killed |
//! | `client` | who asks for what, waits, leaves, or comes back |
//! | `fleet` | workers, their speed and their faults |
//! | `check` | what must always be true |
//! | `report` | what came of it |

mod check;
mod client;
mod fleet;
mod report;
mod restart;
mod run;
mod shell;
#[cfg(test)]
mod tests;
mod world;

use std::io::Write as _;
use std::process::ExitCode;

pub use report::{Report, Violation};

use crate::core::{Config, TenantId, TenantLimits};

/// Plays a fleet with faults under a virtual clock, and checks what must always be true.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Decides everything that is left to chance
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Tasks that clients want done
    #[arg(long, default_value_t = 10_000)]
    pub tasks: usize,
    /// Workers of the fleet
    #[arg(long, default_value_t = 8)]
    pub workers: usize,
    /// Tasks that come, over those that the workers can do
    #[arg(long, default_value_t = 1.2)]
    pub load: f64,
    /// How often things go wrong, over how often they do by default; 0: never
    #[arg(long, default_value_t = 1.0)]
    pub faults: f64,
    /// So many runs, each with the next seed
    #[arg(long, default_value_t = 1)]
    pub runs: u64,
}

/// What a run is like.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub seed: u64,
    pub tasks: usize,
    pub workers: usize,
    pub load: f64,
    pub faults: f64,
    /// How the core is set up. What must be true is that of the default, with the same tenants.
    pub config: Config,
    pub tenants: Vec<(TenantId, TenantLimits)>,
    /// What a test breaks, to see that it is found.
    #[cfg(test)]
    pub(crate) broken: Option<tests::Broken>,
}

impl Options {
    pub fn new(seed: u64, tasks: usize) -> Self {
        Self {
            seed,
            tasks,
            workers: 8,
            load: 1.2,
            faults: 1.0,
            config: Config::default(),
            tenants: client::tenants(),
            #[cfg(test)]
            broken: None,
        }
    }
}

/// Plays one run to its end.
pub fn run(options: Options) -> Report {
    world::World::new(options).play()
}

/// Plays the runs that are asked for and prints what came of them. Fails when something that must be true was not.
pub fn main(args: &Args) -> ExitCode {
    let mut out = std::io::stdout().lock();
    let mut is_good = true;
    for seed in args.seed..args.seed.saturating_add(args.runs) {
        let report = run(Options {
            workers: args.workers.max(1),
            load: args.load,
            faults: args.faults,
            ..Options::new(seed, args.tasks)
        });
        is_good &= report.violations.is_empty();
        if write!(out, "{report}").is_err() {
            return ExitCode::FAILURE;
        }
    }
    if is_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
