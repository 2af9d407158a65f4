//! `rbee plan`

use reconciler::planner::Options;

use super::prepare;
use crate::cli::{Global, Plan};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::progress::Output;
use crate::report::document::PlanDocument;
use crate::report::markdown;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Plan, terminal: Terminal) -> Result<Exit, Failure> {
    let options = Options {
        prune_models: args.prune_models,
    };
    let output = global.output();
    let prepared = prepare::to_apply(global, options, args.run.locked, terminal).await?;
    let plan = &prepared.plan;
    let too_much = prepared.check_download(args.run.max_download).err();
    let faulty = plan.unknown.iter().any(|pool| !pool.unknown.unreachable);
    let exit = if too_much.is_some() || faulty || !plan.blocked.is_empty() {
        Exit::ERROR
    } else if !plan.unknown.is_empty() {
        Exit::UNREACHABLE
    } else if args.detailed_exitcode && !plan.is_empty() {
        Exit::CHANGES
    } else {
        Exit::DONE
    };
    match output {
        Output::Json => {
            let document = PlanDocument {
                error: too_much.as_ref().map(Failure::report),
                ..PlanDocument::new(plan)
            };
            terminal.data(&super::json(&document)?);
        }
        Output::Text if args.markdown => {
            let text = markdown::text(plan, &prepared.places(), prepared.purpose, None);
            terminal.data(&text);
        }
        Output::Text | Output::JsonStream => {
            let progress = prepared.show(output, terminal);
            progress.summary(plan, None, exit.0);
        }
    }
    prepared.pools.close().await;
    match too_much {
        // The document has it already.
        Some(failure) if output == Output::Json => {
            terminal.failure(&failure);
            Ok(exit)
        }
        Some(failure) => Err(failure),
        None => Ok(exit),
    }
}
