//! `rbee apply`

use reconciler::planner::Options;

use super::prepare;
use crate::cli::{Apply, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Apply, terminal: Terminal) -> Result<Exit, Failure> {
    let options = Options {
        prune_models: args.prune_models,
    };
    let prepared = prepare::to_apply(global, options, args.run.locked, terminal).await?;
    let output = global.output();
    let progress = prepared.show(output, terminal);
    let checked = prepared
        .check_download(args.run.max_download)
        .and_then(|()| prepared.check_emptied(args.allow_empty))
        .and_then(|()| prepared.confirm(args.yes, "Do this?", terminal));
    checked.map_err(|failure| prepared.refused(&progress, failure))?;
    prepared
        .carry_out(
            args.parallelism,
            args.run.max_download,
            output,
            &progress,
            terminal,
        )
        .await
}
