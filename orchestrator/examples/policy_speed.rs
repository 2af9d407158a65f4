//! What one `schedule` call of a policy costs with 100 workers: `cargo run --release --example policy_speed`.

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::time::{Duration, Instant};

use orchestrator::policy::{Policy, View};
use serde_json::json;

const WORKERS: usize = 100;
const POOLS: [&str; 3] = ["lab-a", "lab-b", "store"];
const CALLS: usize = 2000;

fn main() -> anyhow::Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies");
    let policy = Policy::read(&folder.join("tenants-to-pools.rhai"))?;
    let workers: Vec<_> = (0..WORKERS)
        .map(|n| {
            json!({
                "id": format!("w{n}"), "model": "tiny", "digest": null, "pool": POOLS[n % 3],
                "device": "cuda:0", "url": format!("http://10.0.0.{n}:9000"), "slots": 4, "busy": 1, "running": 1,
                "foreign": 0, "memory_free": 8_000_000_000_u64, "context_length": 32_768, "us_per_token": 9000,
                "condition": "ready", "drained": false, "tokens": n * 7 % 50, "busy_until": 0, "heard": 1,
            })
        })
        .collect();
    let snapshot = json!({"unix_ms": 1, "model": "tiny", "workers": workers});
    let task = json!({"id": "t", "tenant": "research", "class": "batch", "tokens_in": 10, "max_tokens": 100});

    let shown = View::of(&snapshot)?;
    print("view of the snapshot", || View::of(&snapshot).is_ok());
    print("view of the task", || View::of(&task).is_ok());
    let task = View::of(&task)?;
    print("schedule, snapshot as it was", || {
        policy.schedule(&shown, &task).is_ok()
    });
    Ok(())
}

/// Calls often and prints the median, the 99th percentile and how many calls failed.
fn print(what: &str, mut call: impl FnMut() -> bool) {
    let mut failed = 0;
    let mut times: Vec<Duration> = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let start = Instant::now();
        failed += usize::from(!call());
        times.push(start.elapsed());
    }
    times.sort();
    let [median, late] = [times[CALLS / 2], times[CALLS * 99 / 100]];
    println!("{what:30} p50 {median:>10.1?}  p99 {late:>10.1?}  failed {failed}");
}
