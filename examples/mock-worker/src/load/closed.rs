//! So many streams at the same time.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::client::{Client, Connection};
use crate::open::{lock, milliseconds};
use crate::tally::Tally;

/// Of a run that goes on, what came earlier does not count.
const WARM_UP: Duration = Duration::from_secs(1);

pub async fn run(client: Client, streams: usize, time: Option<Duration>) -> anyhow::Result<Value> {
    let client = Arc::new(client);
    let tally = Arc::new(Mutex::new(Tally::default()));
    let mut connections = Vec::with_capacity(streams);
    for _ in 0..streams {
        connections.push(client.connect().await?);
    }
    let start = Instant::now();
    let from = start + time.map_or(Duration::ZERO, |_| WARM_UP);
    let mut tasks = JoinSet::new();
    for connection in connections {
        let (client, tally) = (Arc::clone(&client), Arc::clone(&tally));
        let goes_on = time.is_some();
        tasks.spawn(async move { take(&client, connection, from, goes_on, &tally).await });
    }
    let all = async { while tasks.join_next().await.is_some() {} };
    match time {
        Some(time) => {
            // Whoever is not done by then is left alone.
            let _ = tokio::time::timeout(time, all).await;
        }
        None => all.await,
    }
    let mut tally = lock(&tally);
    tally.seconds = from.elapsed().as_secs_f64();
    Ok(tally.to_json())
}

async fn take(
    client: &Client,
    mut connection: Connection,
    from: Instant,
    goes_on: bool,
    tally: &Mutex<Tally>,
) {
    loop {
        lock(tally).asked += 1;
        let begun = Instant::now();
        let mut last = None;
        let heard = |now: Instant, tokens: u64| {
            let gap = last.replace(now).map(|last| now - last);
            if now >= from {
                let mut tally = lock(tally);
                tally.tokens += tokens;
                tally.gaps.extend(gap.map(milliseconds));
            }
        };
        match client.stream(&mut connection, heard).await {
            Ok(stream) => {
                let mut tally = lock(tally);
                tally.ended += 1;
                tally.first_token.push(milliseconds(stream.first - begun));
                tally.whole.push(milliseconds(stream.end - begun));
            }
            Err(error) => {
                lock(tally).fail(&error);
                match client.connect().await {
                    Ok(another) => connection = another,
                    Err(_) => return,
                }
            }
        }
        if !goes_on {
            return;
        }
    }
}
