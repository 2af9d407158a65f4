//! `rbee status`

use reconciler::observed::PoolState;
use serde_json::json;

use crate::cli::Global;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::fleet_file::FleetFile;
use crate::pools;
use crate::report;
use crate::terminal::Terminal;

pub async fn run(global: &Global, terminal: Terminal) -> Result<Exit, Failure> {
    let file = FleetFile::load(global.file.as_deref())?;
    let pools = pools::observe(&file.fleet, &global.transport()).await;
    if global.json {
        let value =
            json!({ "version": 1, "fleet": *file.fleet.name, "pools": pools.observed.pools });
        terminal.data(&super::json(&value)?);
    } else {
        terminal.data(&report::status::text(
            &file.fleet,
            &pools.observed,
            terminal.colour_out,
        ));
    }
    let unknown = |reached: bool| {
        let mut states = pools.observed.pools.values();
        states.any(
            |state| matches!(state, PoolState::Unknown(unknown) if unknown.unreachable != reached),
        )
    };
    let exit = if unknown(true) {
        Exit::ERROR
    } else if unknown(false) {
        Exit::UNREACHABLE
    } else {
        Exit::DONE
    };
    pools.close().await;
    Ok(exit)
}
