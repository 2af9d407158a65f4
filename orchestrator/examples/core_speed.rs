//! How long the core takes to admit and to schedule, with 1,000 tasks that wait and 100 workers, in microseconds.
//!
//! `cargo run --release -p orchestratord --example core_speed [POLICY]`, with the script of an operator if one is named.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use orchestrator::core::relay::Relay;
use orchestrator::core::{
    BuiltIn, Condition, Config, Core, NewTask, Now, Policy, Priority, TenantId, TenantLimits, Used,
    WorkerInfo,
};
use orchestrator::daemon::Rules;
use pool_core::device::Device;
use pool_core::name::ModelId;
use pool_core::serving::StreamEvent;

const QUEUED: u64 = 1000;
const WORKERS: u64 = 100;
const TENANTS: u64 = 20;
const ROUNDS: u64 = 20_000;
const TOKENS: u64 = 100_000;

fn task(model: &ModelId, number: u64) -> NewTask {
    NewTask {
        id: format!("task-{number}").into(),
        tenant: tenant(number % TENANTS),
        model: model.clone(),
        class: Priority::ALL[usize::from(number.is_multiple_of(4))],
        tokens_in: 100 + number % 400,
        max_tokens: Some(200),
        session: Some(number % 64),
        prefixes: (0..8).map(|depth| number % 100 * 8 + depth).collect(),
        deadline_ms: Some(1_800_000),
        request: number,
    }
}

fn tenant(number: u64) -> TenantId {
    format!("tenant-{number}").into()
}

fn worker(model: &ModelId, number: u64) -> WorkerInfo {
    WorkerInfo {
        id: format!("pool/worker-{number}").as_str().into(),
        model: model.clone(),
        digest: None,
        pool: "pool".into(),
        device: Device::Cuda(0),
        url: "http://127.0.0.1:9000".into(),
        slots: 4,
        busy: 0,
        memory_free: number << 30,
        context_length: 8192,
        us_per_token: Some(1000),
    }
}

/// Microseconds that a call takes.
fn time<T>(times: &mut Vec<f64>, call: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = call();
    times.push(began.elapsed().as_secs_f64() * 1e6);
    result
}

fn percentile(times: &mut [f64], percent: usize) -> f64 {
    times.sort_unstable_by(f64::total_cmp);
    times[(times.len() - 1) * percent / 100]
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model: ModelId = "tiny".parse()?;
    let config = Config {
        queue_bound: 2 * QUEUED as usize,
        ..Config::default()
    };
    let policy: Box<dyn Policy> = match std::env::args().nth(1) {
        Some(script) => Box::new(Rules::open(script.as_ref(), Arc::default())?),
        None => Box::new(BuiltIn),
    };
    let mut core = Core::new(config, policy);
    let mut now = Now {
        mono_ms: 0,
        unix_ms: 1_700_000_000_000,
    };
    let tenants = (0..TENANTS).map(|n| (tenant(n), TenantLimits::default()));
    core.set_tenants(now, tenants);
    for number in 0..WORKERS {
        let info = worker(&model, number);
        let id = info.id.clone();
        core.heartbeat(now, info);
        core.probed(now, &id, Condition::Ready);
    }
    let mut running: std::collections::VecDeque<_> = std::collections::VecDeque::new();
    let mut next = 0;
    while core.queued(Priority::Interactive) + core.queued(Priority::Batch) < QUEUED as usize {
        core.submit(now, task(&model, next))?;
        running.extend(core.dispatch(now));
        next += 1;
    }
    let (mut admission, mut scheduling) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        now.mono_ms += 1;
        now.unix_ms += 1;
        let new = task(&model, next);
        next += 1;
        time(&mut admission, || core.submit(now, new))?;
        if let Some(done) = running.pop_front() {
            let used = Used {
                tokens_in: 100,
                tokens_out: 50,
            };
            core.ended(now, &done.task, done.attempt, used);
        }
        running.extend(time(&mut scheduling, || core.dispatch(now)));
    }
    let mut out = std::io::stdout().lock();
    for (name, times) in [
        ("admission", &mut admission),
        ("scheduling", &mut scheduling),
    ] {
        let (p50, p99) = (percentile(times, 50), percentile(times, 99));
        writeln!(out, "{name}_us p50 {p50:.1} p99 {p99:.1}")?;
    }
    let mut stream = StreamEvent::Started {
        job_id: "theirs".into(),
        model,
        seed: 0,
        started_at: jiff::Timestamp::UNIX_EPOCH,
    }
    .to_frame(0)
    .to_string();
    for i in 0..TOKENS {
        let t = " token".to_owned();
        let frame = StreamEvent::Token { t, i }.to_frame(i + 1);
        stream.push_str(&frame.to_string());
    }
    let mut relay = Relay::new("ours", 1);
    let mut passed = Vec::new();
    let began = Instant::now();
    for piece in stream.as_bytes().chunks(200) {
        passed.clear();
        relay.push(piece, &mut passed)?;
    }
    let ns = began.elapsed().as_secs_f64() * 1e9 / TOKENS as f64;
    writeln!(out, "relay_ns_per_token {ns:.0}")?;
    Ok(())
}
