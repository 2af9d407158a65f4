//! `rbee-hive status`.

use pool_core::observation::PoolObservation;
use pool_core::units::bytes;

use super::{Output, table};
use crate::Hive;
use crate::error::Result;
use crate::observe;

pub async fn run(hive: &Hive, output: &Output) -> Result<()> {
    let pool = observe::observe(hive).await?;
    output.print(&pool, || text(&pool))
}

fn text(pool: &PoolObservation) -> String {
    let mut text = format!(
        "host     {} ({})\nhome     {}\nhive     {}\ndisk     {} free\nmemory   {} of {} available\n",
        pool.hostname,
        pool.platform,
        pool.home,
        pool.hive_version,
        pool.disk_free_bytes.map_or_else(|| "unknown".into(), bytes),
        bytes(pool.memory.available),
        bytes(pool.memory.total),
    );
    if let Some(why) = &pool.no_cuda {
        text += &format!("cuda     {why}\n");
    }
    let parts = [
        Some(table::devices(&pool.devices)),
        (!pool.models.is_empty()).then(|| table::models(&pool.models)),
        (!pool.workers.is_empty()).then(|| table::workers(&pool.workers)),
        (!pool.orchestrators.is_empty()).then(|| table::orchestrators(&pool.orchestrators)),
    ];
    for part in parts.into_iter().flatten() {
        text.push('\n');
        text.push_str(&part);
    }
    text
}
