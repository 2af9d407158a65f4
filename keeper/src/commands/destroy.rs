//! `rbee destroy`

use reconciler::planner::Options;

use super::prepare;
use crate::cli::{Destroy, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Destroy, terminal: Terminal) -> Result<Exit, Failure> {
    let options = Options {
        prune_models: !args.keep_models,
    };
    let prepared = prepare::to_destroy(global, options, terminal).await?;
    let output = global.output();
    let progress = prepared.show(output, terminal);
    let question = format!("Destroy fleet {}?", *prepared.file.fleet.name);
    prepared
        .confirm(args.yes, &question, terminal)
        .map_err(|failure| prepared.refused(&progress, failure))?;
    prepared
        .carry_out(args.parallelism, None, output, &progress, terminal)
        .await
}
