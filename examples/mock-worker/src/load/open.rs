//! So many requests a second, whatever becomes of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use crate::client::{Client, Connection};
use crate::tally::Tally;

/// How long the last answers may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn run(
    client: Client,
    rate: f64,
    seconds: f64,
    connections: usize,
) -> anyhow::Result<Value> {
    let client = Arc::new(client);
    let idle = Arc::new(Mutex::new(Vec::new()));
    for _ in 0..connections {
        let connection = client.connect().await?;
        lock(&idle).push(connection);
    }
    let tally = Arc::new(Mutex::new(Tally::default()));
    let requests = (rate * seconds) as u32;
    let (due, mut dues) = unbounded_channel();
    // Sleeps of the system are finer than those of the runtime.
    std::thread::spawn(move || pace(rate, requests, &due));
    let mut streams = JoinSet::new();
    while let Some(due) = dues.recv().await {
        lock(&tally).asked += 1;
        let (client, idle, tally) = (Arc::clone(&client), Arc::clone(&idle), Arc::clone(&tally));
        streams.spawn(async move {
            match ask(&client, &idle, due, &tally).await {
                Ok(connection) => lock(&idle).push(connection),
                Err(error) => lock(&tally).fail(&error),
            }
        });
        while streams.try_join_next().is_some() {}
    }
    let rest = async { while streams.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(PATIENCE, rest).await;
    let told = lock(&tally).to_json();
    Ok(told)
}

/// Tells when each request is due.
fn pace(rate: f64, requests: u32, due: &UnboundedSender<Instant>) {
    let start = Instant::now();
    for number in 0..requests {
        let next = start + Duration::from_secs_f64(f64::from(number) / rate);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        if due.send(next).is_err() {
            return;
        }
    }
}

async fn ask(
    client: &Client,
    idle: &Mutex<Vec<Connection>>,
    due: Instant,
    tally: &Mutex<Tally>,
) -> anyhow::Result<Connection> {
    let known = lock(idle).pop();
    let mut connection = match known {
        Some(connection) if !connection.is_closed() => connection,
        _ => client.connect().await?,
    };
    let mut last = None;
    let heard = |now: Instant, tokens: u64| {
        let mut tally = lock(tally);
        tally.tokens += tokens;
        let gap = last.replace(now).map(|last| now - last);
        tally.gaps.extend(gap.map(milliseconds));
    };
    let stream = client.stream(&mut connection, heard).await?;
    let mut tally = lock(tally);
    tally.ended += 1;
    tally.first_token.push(milliseconds(stream.first - due));
    tally.whole.push(milliseconds(stream.end - due));
    Ok(connection)
}

pub fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
