//! The orchestrators of a pool, one a fleet at most: their records, their start, their end.

mod begin;
pub mod config;
mod record;
mod start;
mod stop;

pub use record::{all, get, load, process_of};
pub use start::start;
pub use stop::stop;

use std::time::Duration;

use pool_core::orchestrator::{DRAIN, OrchestratorSpec};
use reqwest::{Client, StatusCode};

/// How long an orchestrator may take to say whether it is ready: long enough for a machine that is very busy.
const PROBE: Duration = Duration::from_secs(5);

/// How long one that is told to stop may take: its running streams, and what it has left to write.
const PATIENCE: Duration = Duration::from_secs(DRAIN.as_secs() + 5);

/// Whether `/ready` says yes just now.
pub async fn probe(client: &Client, spec: &OrchestratorSpec) -> bool {
    let url = format!("{}/ready", spec.local_url());
    let answer = client.get(url).timeout(PROBE).send().await;
    answer.is_ok_and(|answer| answer.status() == StatusCode::OK)
}
