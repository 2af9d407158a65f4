//! How many tasks and events a second a store takes, and what that costs:
//! `cargo run --release --example store_speed [file]`. Without a file the store is in memory.

#![allow(clippy::print_stdout)]

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use orchestrator::store::{Events, Kind, Limits, Outcome, Store, StoreError, Task};

const TASKS: u64 = 10_000;
const EVENTS: u64 = 40;
/// Tasks that run at the same time.
const STREAMS: usize = 2000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let kind = match std::env::args().nth(1) {
        Some(path) => Kind::Sqlite(path.into()),
        None => Kind::Memory,
    };
    let store = Store::open(&kind, Limits::default())?;
    let start = Instant::now();
    let accepts: Vec<Result<Duration, StoreError>> = futures::stream::iter(0..TASKS)
        .map(|number| run(&store, number))
        .buffer_unordered(STREAMS)
        .collect()
        .await;
    let wall = start.elapsed().as_secs_f64();
    let mut accepts = accepts.into_iter().collect::<Result<Vec<_>, _>>()?;
    accepts.sort();
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    let events = (TASKS * EVENTS) as f64;
    println!("{kind:?}: {TASKS} tasks of {EVENTS} events, {STREAMS} at a time");
    println!(
        "{:.0} tasks/s, {:.0} events/s",
        TASKS as f64 / wall,
        events / wall
    );
    println!(
        "{:.1} µs of CPU an event, {wall:.1} s in all",
        cpu / events * 1e6
    );
    let [median, late] = [
        accepts[accepts.len() / 2],
        accepts[accepts.len() * 99 / 100],
    ];
    println!("accept p50 {median:.1?}, p99 {late:.1?}");
    let start = Instant::now();
    store.forget(0).await?;
    println!("forget nothing of {TASKS}: {:.1?}", start.elapsed());
    store.close().await;
    Ok(())
}

/// Each event in its own batch, as a slow worker sends them. Returns how long the acceptance took.
async fn run(store: &Store, number: u64) -> Result<Duration, StoreError> {
    let id = format!("task-{number}");
    let frame = |id: u64| {
        let text = format!(
            "event: token\nid: {id}\ndata: {{\"type\":\"token\",\"t\":\" word\",\"i\":{id}}}\n\n"
        );
        Events::new(id, text).ok_or(StoreError::Closed)
    };
    let task = Task {
        id: id.clone(),
        tenant: "lab".into(),
        model: "tiny".into(),
        class: "batch".into(),
        session: None,
        body: "x".repeat(2000).into(),
        tokens: 100,
        submitted_at: 0,
        deadline: None,
        correlation_id: "c".into(),
    };
    let start = Instant::now();
    store.accept(task, frame(0)?).await?;
    let accepted = start.elapsed();
    for event in 1..EVENTS - 1 {
        store.append(&id, frame(event)?.with_tokens(1)).await?;
    }
    store
        .finish(&id, Outcome::Completed, frame(EVENTS - 1)?, 0)
        .await?;
    Ok(accepted)
}
