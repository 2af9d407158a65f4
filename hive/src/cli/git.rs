//! `rbee-hive git`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use pool_core::units::count;

use super::Output;
use super::progress::say;
use crate::Hive;
use crate::checkout::{self, Built, Checkout, Pulled, Status};
use crate::error::Result;

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Branch, revision and changes of the checkout, and what was built of it; asks no remote
    Status(Place),
    /// Take over what the branch's upstream has, where that is a fast-forward
    ///
    /// Nobody is asked for a password: the remote has to be open to the pool, by a key or a credential helper.
    Pull(Place),
    /// Build rbee with the pool's own cargo, and install it as `rbee apply` would
    ///
    /// What runs goes on with the build that it was started from. cargo and git are looked for in PATH, then in
    /// ~/.cargo/bin, /opt/homebrew/bin and /usr/local/bin.
    Build {
        #[command(flatten)]
        place: Place,
        /// Cargo features of the build, separated by commas
        #[arg(long, value_name = "NAMES", value_delimiter = ',')]
        features: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct Place {
    /// The checkout, on the pool; by default the one that was built last, else ~/rbee
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

pub async fn run(hive: &Hive, command: Command, output: &Output) -> Result<()> {
    let home = &hive.home;
    match command {
        Command::Status(place) => {
            let checkout = Checkout::find(home, place.dir).await?;
            let status = checkout::status(home, &checkout).await?;
            output.print(&status, || status_text(&status))
        }
        Command::Pull(place) => {
            let checkout = Checkout::find(home, place.dir).await?;
            let pulled = checkout::pull(home, &checkout).await?;
            output.print(&pulled, || pulled_text(&pulled))
        }
        Command::Build { place, features } => {
            let checkout = Checkout::find(home, place.dir).await?;
            let tell = |status: &Status| {
                let (revision, dir) = (status.short(), &status.dir);
                let dirty = if status.dirty { " with changes" } else { "" };
                say(&format!("building {revision}{dirty} in {dir}"));
            };
            let built = checkout::build(hive, &checkout, features, tell).await?;
            output.print(&built, || {
                let build = built.build.short();
                format!("installed rbee {build}, {}\n", built_text(&built))
            })
        }
    }
}

fn status_text(status: &Status) -> String {
    let branch = match (&status.branch, &status.upstream) {
        (None, _) => "none: HEAD is detached".into(),
        (Some(branch), None) => format!("{branch}, which follows none"),
        (Some(branch), Some(upstream)) => match (status.ahead, status.behind) {
            (Some(0), Some(0)) => format!("{branch}, as {upstream} at the last fetch"),
            (Some(ahead), Some(behind)) => {
                format!(
                    "{branch}, {ahead} ahead of and {behind} behind {upstream} at the last fetch"
                )
            }
            _ => format!("{branch}, which follows {upstream}, of which nothing was fetched"),
        },
    };
    let subject = status.subject.as_deref().unwrap_or_default();
    let changes = match (status.changed, status.untracked) {
        (0, 0) => "none".into(),
        (changed, untracked) => {
            let changed = count(changed as usize, "changed file");
            format!("{changed}, {untracked} unknown to git")
        }
    };
    let installed = match (&status.installed, &status.built) {
        (None, _) => "nothing".into(),
        (Some(build), Some(built)) if built.build == *build => {
            format!("{}, {}", build.short(), built_text(built))
        }
        (Some(build), _) => format!("{}, which was not built here", build.short()),
    };
    format!(
        "checkout    {}\nbranch      {branch}\nrevision    {} {subject}\nchanges     {changes}\ninstalled   {installed}\n",
        status.dir,
        status.short(),
    )
}

fn built_text(built: &Built) -> String {
    let revision = built
        .revision
        .as_deref()
        .map_or("no commit", checkout::short);
    let dirty = if built.dirty { " with changes" } else { "" };
    let features = match &built.features[..] {
        [] => String::new(),
        features => format!(", features {}", features.join(", ")),
    };
    format!("built from {revision}{dirty}{features}")
}

fn pulled_text(pulled: &Pulled) -> String {
    let Pulled {
        branch,
        upstream,
        commits,
        ahead,
        ..
    } = pulled;
    let (from, to) = (checkout::short(&pulled.from), checkout::short(&pulled.to));
    match (commits, ahead) {
        (0, 0) => format!("{branch} is at {to}, as {upstream}\n"),
        (0, _) => {
            let ahead = count(*ahead as usize, "commit");
            format!("{branch} is at {to}, {ahead} ahead of {upstream}\n")
        }
        _ => {
            let commits = count(*commits as usize, "commit");
            format!("{branch}: {from} → {to}, {commits} from {upstream}\n")
        }
    }
}
