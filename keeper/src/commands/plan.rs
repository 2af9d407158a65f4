//! `rbee plan`

use reconciler::planner::Options;

use super::prepare::{self, Site, Wish};
use crate::cli::{Global, Plan};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::progress::Output;
use crate::report::document::PlanDocument;
use crate::report::markdown;
use crate::saved::Saved;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Plan, terminal: Terminal) -> Result<Exit, Failure> {
    let wish = Wish {
        options: Options {
            prune_models: args.prune_models,
        },
        targets: args.part.targets(),
        must_be_locked: args.run.locked,
    };
    let output = global.output();
    let file = FleetFile::load(global.file.as_deref())?;
    let prepared = prepare::to_apply(global, &file, wish, None, terminal).await?;
    let plan = &prepared.plan;
    let refusal = prepared
        .check_download(args.run.max_download)
        .and_then(|()| prepared.check_outages())
        .err();
    let exit = match (&refusal, prepared.exit()) {
        (Some(refusal), _) => refusal.code(),
        (None, Exit::DONE) if args.detailed_exitcode && !plan.is_empty() => Exit::CHANGES,
        (None, exit) => exit,
    };
    match output {
        Output::Json => {
            let document = PlanDocument {
                error: refusal.as_ref().map(Failure::report),
                ..PlanDocument::new(plan)
            };
            terminal.data(&super::json(&document)?);
        }
        Output::Text if args.markdown => {
            let text = markdown::text(plan, &prepared.places(), prepared.site.purpose, None);
            terminal.data(&text);
        }
        Output::Text | Output::JsonStream => {
            let progress = prepared.show(output, terminal);
            progress.summary(plan, None, exit.0);
        }
    }
    let written = args.out.as_deref().map(|out| {
        let Site {
            declared,
            folder,
            purpose,
            ..
        } = &prepared.site;
        let saved = Saved::new(plan.clone(), *purpose, folder, declared);
        saved.write(out).map(|()| out)
    });
    // What else refuses a plan here is not asked of a saved one.
    let too_long = prepared.outages_too_long().join("; ");
    prepared.pools.close().await;
    if let Some(out) = written.transpose()? {
        let name = out.display();
        terminal.note(&if too_long.is_empty() {
            format!("Saved to {name}: `rbee apply {name}` does exactly this.\n")
        } else {
            format!("Saved to {name}, but `rbee apply {name}` will refuse it: {too_long}.\n")
        });
    }
    match refusal {
        // The document has it already.
        Some(refusal) if output == Output::Json => {
            terminal.failure(&refusal);
            Ok(exit)
        }
        Some(refusal) => Err(refusal),
        None => Ok(exit),
    }
}
