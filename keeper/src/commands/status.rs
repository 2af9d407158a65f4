//! `rbee status`

use reconciler::resolve::{Known, resolve};

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::pools;
use crate::report::status::StatusDocument;
use crate::terminal::Terminal;

pub async fn run(global: &Global, terminal: Terminal) -> Result<Exit, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let pools = pools::observe(&file.fleet, &global.transport()).await?;
    // What runs is compared by name alone, for which no model's files are needed.
    let desired =
        resolve(&file.fleet, &Known::default()).map_err(|problems| file.wrong(problems))?;
    let document = StatusDocument::new(&desired, &pools.observed);
    let exit = Exit(document.exit);
    let text = || document.text(terminal.style());
    super::result(global, terminal, "status", exit, &document, text)?;
    pools.close().await;
    Ok(exit)
}
