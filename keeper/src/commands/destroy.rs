//! `rbee destroy`

use reconciler::planner::Options;

use super::prepare::{self, Manner};
use crate::cli::{Destroy, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::interrupt::Interrupt;
use crate::lease::Leases;
use crate::terminal::Terminal;

pub async fn run(global: &Global, args: &Destroy, terminal: Terminal) -> Result<Exit, Failure> {
    let interrupt = Interrupt::listen()?;
    let file = FleetFile::load(global.file.as_deref())?;
    let fleet = &file.fleet.name.value;
    let leases = Leases::new(fleet, "rbee destroy", args.lock.patience(), terminal);
    let options = Options {
        prune_models: !args.keep_models,
    };
    let manner = Manner {
        parallelism: args.parallelism,
        max_download: None,
        output: global.output(),
    };
    let ready = async {
        let prepared = prepare::to_destroy(global, &file, options, &leases, terminal).await?;
        let progress = prepared.show(manner.output, terminal);
        let question = format!("Destroy fleet {fleet}?");
        match prepared.confirm(args.yes, &question, terminal).await {
            Ok(()) => Ok((prepared, progress)),
            Err(refusal) => {
                progress.summary(&prepared.plan, None, refusal.code().0);
                prepared.close(&leases).await;
                Err(refusal)
            }
        }
    };
    let (prepared, progress) = interrupt.before(ready).await?;
    prepared
        .carry_out(&leases, manner, &progress, &interrupt, terminal)
        .await
}
