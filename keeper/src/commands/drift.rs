//! `rbee drift`

use reconciler::diff::diff;
use reconciler::resolve::{Known, resolve};

use crate::cli::{Drift, Global};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::lock_file::LockFile;
use crate::pools;
use crate::report::drift::DriftDocument;
use crate::terminal::Terminal;
use crate::transport::Bundles;

/// Changes nothing, fleet.lock included: of a model that is not locked nothing is known.
pub async fn run(global: &Global, args: &Drift, terminal: Terminal) -> Result<Exit, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let contents = file.contents(&LockFile::beside(&file.path)?.lock)?;
    let configs = file.configs()?;
    let bundles = Bundles::find(global.dist.as_deref());
    let pools = pools::observe(&file.fleet, &global.transport()).await?;
    let builds = pools.builds(&bundles).await;
    let known = Known {
        contents,
        builds,
        configs,
        ..Known::default()
    };
    let desired = resolve(&file.fleet, &known).map_err(|problems| file.wrong(problems))?;
    let drift = diff(&desired, &pools.observed);
    let document = DriftDocument::new(&drift, &pools.observed);
    let exit = if document.is_unknown(false) || document.is_blocked() {
        Exit::ERROR
    } else if document.is_unknown(true) {
        Exit::UNREACHABLE
    } else if args.detailed_exitcode && document.differs() {
        Exit::CHANGES
    } else {
        Exit::DONE
    };
    let text = || document.text(terminal.style());
    super::result(global, terminal, "drift", exit, &document, text)?;
    pools.close().await;
    Ok(exit)
}
