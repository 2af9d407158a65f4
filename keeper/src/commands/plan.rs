//! `rbee plan`

use reconciler::planner::Options;
use serde_json::json;

use super::prepare::{self, Site};
use crate::cli::{Global, Plan};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::progress::Output;
use crate::saved::Saved;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Plan, terminal: Terminal) -> Result<Exit, Failure> {
    let options = Options {
        prune_models: args.prune_models,
    };
    let output = args.run.output(global);
    let file = FleetFile::load(global.file.as_deref())?;
    let locked = args.run.locked;
    let prepared = prepare::to_apply(global, &file, options, locked, None, terminal).await?;
    let plan = &prepared.plan;
    let refusal = prepared
        .check_download(args.run.max_download)
        .and_then(|()| prepared.check_outages())
        .err();
    let faulty = plan.unknown.iter().any(|pool| !pool.unknown.unreachable);
    let exit = if let Some(refusal) = &refusal {
        refusal.code()
    } else if faulty || !plan.blocked.is_empty() {
        Exit::ERROR
    } else if !plan.unknown.is_empty() {
        Exit::UNREACHABLE
    } else if args.detailed_exitcode && !plan.is_empty() {
        Exit::CHANGES
    } else {
        Exit::DONE
    };
    if output == Output::Json {
        let value = json!({ "plan": plan, "totals": plan.totals() });
        terminal.data(&super::json(&value)?);
    } else {
        let progress = prepared.show(output, terminal);
        progress.summary(plan, None, exit.0);
    }
    let written = args.out.as_deref().map(|out| {
        let Site {
            declared,
            folder,
            purpose,
        } = &prepared.site;
        let saved = Saved::new(plan.clone(), *purpose, folder, declared);
        saved.write(out).map(|()| out)
    });
    prepared.pools.close().await;
    if let Some(out) = written.transpose()? {
        let name = out.display();
        terminal.note(&format!(
            "Saved to {name}: `rbee apply {name}` does exactly this.\n"
        ));
    }
    match refusal {
        Some(refusal) => Err(refusal),
        None => Ok(exit),
    }
}
