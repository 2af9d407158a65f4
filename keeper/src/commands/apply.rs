//! `rbee apply`

use reconciler::planner::Options;

use super::prepare;
use crate::cli::{Apply, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::report::outcome::stops;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Apply, terminal: Terminal) -> Result<Exit, Failure> {
    let options = Options {
        prune_models: args.prune_models,
    };
    let prepared = prepare::to_apply(global, options, args.run.locked, terminal).await?;
    let output = args.run.output(global);
    let progress = prepared.show(output, terminal);
    if let Err(refusal) = prepared.check_download(args.run.max_download) {
        progress.summary(&prepared.plan, None, refusal.code().0);
        return Err(refusal);
    }
    let stopped = stops(&prepared.plan);
    if prepared.file.fleet.workers.is_empty() && stopped > 0 && !args.allow_empty {
        let what = format!("the fleet file names no worker, and {stopped} things would go");
        return Err(Failure::new(what)
            .at(prepared.file.path.display().to_string())
            .help("if that is meant, `--allow-empty` goes on; `rbee destroy` removes the fleet"));
    }
    if !prepared.confirm(args.yes, "Do this?", terminal)? {
        return Err(Failure::new("nothing was done: the answer was not `yes`"));
    }
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
