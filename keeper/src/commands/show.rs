//! `rbee show`

use pool_core::name::PoolName;

use crate::cli::{Global, Show};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::{Output, Progress};
use crate::report::document::{Made, PlanDocument};
use crate::report::markdown;
use crate::report::plan::{self, Origin, Places};
use crate::saved::{self, Saved, SavedPool};
use crate::terminal::Terminal;

/// Shows a saved plan; asks no pool.
pub fn run(global: &Global, args: &Show, terminal: Terminal) -> Result<Exit, Failure> {
    let saved = saved::load(&args.plan)?;
    let place = |(name, pool): (&PoolName, &SavedPool)| (name.clone(), pool.connect.clone());
    let places: Places = saved.pools.iter().map(place).collect();
    let Saved { plan, purpose, .. } = &saved;
    match global.output() {
        Output::Json => {
            let document = PlanDocument {
                saved: Some(Made {
                    at: saved.made_at.to_string(),
                    by: &saved.rbee,
                }),
                ..PlanDocument::new(plan)
            };
            terminal.data(&super::json(&document)?);
        }
        Output::JsonStream => {
            let progress = Progress::new(terminal, Output::JsonStream, plan);
            progress.planned(plan);
            progress.line(&made(&saved));
            progress.summary(plan, None, Exit::DONE.0);
        }
        Output::Text if args.markdown => {
            let about = markdown::about(&saved.made_at, &saved.rbee);
            terminal.data(&markdown::text(plan, &places, *purpose, Some(&about)));
        }
        Output::Text => {
            let style = terminal.style();
            let text = plan::text(plan, &places, Origin::Saved, style);
            terminal.data(&format!("{text}{}", style.lines(&made(&saved), 0)));
        }
    }
    Ok(Exit::DONE)
}

fn made(saved: &Saved) -> String {
    let (at, rbee) = (saved.made_at, &saved.rbee);
    format!("This plan was made at {at} by rbee {rbee}.")
}
