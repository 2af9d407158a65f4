//! `rbee plan`

use reconciler::planner::Options;
use serde_json::json;

use super::prepare;
use crate::cli::{Global, Plan};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Plan, terminal: Terminal) -> Result<Exit, Failure> {
    let options = Options {
        prune_models: args.prune_models,
    };
    let prepared = prepare::to_apply(global, options, terminal).await?;
    let plan = &prepared.plan;
    if global.json {
        terminal.data(&super::json(
            &json!({ "plan": plan, "totals": plan.totals() }),
        )?);
    } else {
        terminal.data(&prepared.text(terminal.colour_out));
    }
    let faulty = plan.unknown.iter().any(|pool| !pool.unknown.unreachable);
    let exit = if faulty || !plan.blocked.is_empty() {
        Exit::ERROR
    } else if !plan.unknown.is_empty() {
        Exit::UNREACHABLE
    } else if args.detailed_exitcode && !plan.is_empty() {
        Exit::CHANGES
    } else {
        Exit::DONE
    };
    prepared.pools.close().await;
    Ok(exit)
}
