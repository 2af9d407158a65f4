//! Clients that leave with their first token, and when the workers notice.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use mock_worker::{Outcome, Seen};
use serde_json::{Value, json};

use crate::client::{Client, get};
use crate::count::Count;
use crate::tally::spread;

/// How long a worker may go on for nobody.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two questions to the workers.
const PAUSE: Duration = Duration::from_millis(200);

pub async fn run(client: Client, times: usize, workers: &[SocketAddr]) -> anyhow::Result<Value> {
    let mut left = HashMap::new();
    for _ in 0..times {
        // The time makes it another prompt than every earlier one.
        let prompt = format!("leave-{}", now()?);
        leave(&client, &prompt).await?;
        left.insert(prompt, now()?);
    }
    let noticed = noticed_within(&left, workers).await?;
    Ok(json!({ "asked": times, "noticed": noticed.len(), "notice_ms": spread(&noticed) }))
}

/// [`noticed`], once the workers have noticed all of them or long should have.
pub async fn noticed_within(
    left: &HashMap<String, u64>,
    workers: &[SocketAddr],
) -> anyhow::Result<Vec<f64>> {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let noticed = noticed(left, workers).await?;
        if noticed.len() == left.len() || Instant::now() > give_up {
            return Ok(noticed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Microseconds since 1970.
pub fn now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64)
}

/// Asks, hears a token and closes the connection.
async fn leave(client: &Client, prompt: &str) -> anyhow::Result<()> {
    let mut connection = client.connect().await?;
    let mut response = client.send(&mut connection, client.body(prompt)).await?;
    let mut count = Count::default();
    while count.tokens == 0 {
        let frame = response.body_mut().frame().await.context("no tokens")?;
        if let Some(bytes) = frame?.data_ref() {
            count.push(bytes);
        }
    }
    Ok(())
}

/// Milliseconds from leaving, or cancelling, until a worker ended the answer, for those that one did.
async fn noticed(left: &HashMap<String, u64>, workers: &[SocketAddr]) -> anyhow::Result<Vec<f64>> {
    let mut noticed = Vec::new();
    for worker in workers {
        let seen: Seen = serde_json::from_slice(&get(*worker, "/seen").await?)?;
        for job in seen.jobs {
            let prompt = job.request["messages"][0]["content"]
                .as_str()
                .unwrap_or_default();
            let is_broken_off = matches!(job.outcome, Outcome::Disconnected | Outcome::Cancelled);
            if let (Some(left), Some(ended)) = (left.get(prompt), job.ended_at)
                && is_broken_off
            {
                noticed.push(ended.saturating_sub(*left) as f64 / 1e3);
            }
        }
    }
    Ok(noticed)
}
