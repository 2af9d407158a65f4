//! What is counted for `GET /metrics`.
//!
//! The names that begin with `vllm:` and their buckets are those of vLLM, which routers read.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use pool_core::launch::WorkerLaunch;
use pool_core::serving::{ErrorCode, MemoryUse};
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::engine::Load;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// By the model or a stop text.
    Stop,
    /// With as many tokens as it may have.
    Length,
    /// Cancelled, or its client left.
    Abort,
    /// Broken off by the worker.
    Error,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Finished {
    finished_reason: Outcome,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

/// The counters of one worker. Labels are of a fixed set: never an id of a request or a client.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    running: Gauge,
    waiting: Gauge,
    kv_usage: Gauge<f64, AtomicU64>,
    first_token: Histogram,
    inter_token: Histogram,
    e2e: Histogram,
    prompt_tokens: Counter,
    generation_tokens: Counter,
    finished: Family<Finished, Counter>,
    begun: Counter,
    refused: Family<Code, Counter>,
    memory: Family<Kind, Gauge>,
    slots_busy: Gauge,
    uptime: Gauge,
}

const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];
const INTER_TOKEN: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];
const E2E: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

impl Metrics {
    pub fn new(launch: &WorkerLaunch) -> Self {
        let model = ("model_name".into(), launch.model.to_string().into());
        let mut registry = Registry::with_labels(std::iter::once(model));
        let mut metrics = Self {
            registry: Registry::default(),
            running: Gauge::default(),
            waiting: Gauge::default(),
            kv_usage: Gauge::default(),
            first_token: Histogram::new(FIRST_TOKEN),
            inter_token: Histogram::new(INTER_TOKEN),
            e2e: Histogram::new(E2E),
            prompt_tokens: Counter::default(),
            generation_tokens: Counter::default(),
            finished: Family::default(),
            begun: Counter::default(),
            refused: Family::default(),
            memory: Family::default(),
            slots_busy: Gauge::default(),
            uptime: Gauge::default(),
        };
        metrics.register_vllm(&mut registry);
        metrics.register_own(&mut registry, launch);
        // Rates need a beginning: what never happened is 0, not absent.
        for finished_reason in [
            Outcome::Stop,
            Outcome::Length,
            Outcome::Abort,
            Outcome::Error,
        ] {
            let label = Finished { finished_reason };
            drop(metrics.finished.get_or_create(&label));
        }
        metrics.registry = registry;
        metrics
    }

    fn register_vllm(&self, registry: &mut Registry) {
        let mut add = |name: &str, help: &str, metric: Box<dyn Registered>| {
            metric.register(registry, &format!("vllm:{name}"), help);
        };
        add(
            "num_requests_running",
            "Requests that have a slot",
            Box::new(self.running.clone()),
        );
        add(
            "num_requests_waiting",
            "Requests that wait for a slot",
            Box::new(self.waiting.clone()),
        );
        add(
            "kv_cache_usage_perc",
            "Share of the room for keys and values that is used: 1 is all of it",
            Box::new(self.kv_usage.clone()),
        );
        add(
            "time_to_first_token_seconds",
            "From a request's arrival to its first token",
            Box::new(self.first_token.clone()),
        );
        add(
            "inter_token_latency_seconds",
            "Between two tokens of an answer",
            Box::new(self.inter_token.clone()),
        );
        add(
            "e2e_request_latency_seconds",
            "From a request's arrival to its end",
            Box::new(self.e2e.clone()),
        );
        add(
            "prompt_tokens",
            "Tokens of prompts",
            Box::new(self.prompt_tokens.clone()),
        );
        add(
            "generation_tokens",
            "Tokens of answers",
            Box::new(self.generation_tokens.clone()),
        );
        add(
            "request_success",
            "Requests that ended, by their end",
            Box::new(self.finished.clone()),
        );
    }

    fn register_own(&self, registry: &mut Registry, launch: &WorkerLaunch) {
        let build = Info::new(vec![
            ("version", pool_core::VERSION.to_owned()),
            ("worker_id", launch.worker_id.to_string()),
            ("device", launch.device.to_string()),
        ]);
        registry.register("rbee_build", "What runs here", build);
        let slots = Gauge::<i64>::default();
        slots.set(i64::from(launch.slots));
        let mut add = |name: &str, help: &str, metric: Box<dyn Registered>| {
            metric.register(registry, &format!("rbee_{name}"), help);
        };
        add(
            "slots",
            "Requests that can run at the same time",
            Box::new(slots),
        );
        add(
            "slots_busy",
            "Requests that run",
            Box::new(self.slots_busy.clone()),
        );
        add(
            "memory_bytes",
            "Memory of the device, by what it holds",
            Box::new(self.memory.clone()),
        );
        add(
            "uptime_seconds",
            "Since the process listens",
            Box::new(self.uptime.clone()),
        );
        add(
            "requests_begun",
            "Requests that got a slot",
            Box::new(self.begun.clone()),
        );
        add(
            "requests_refused",
            "HTTP requests that were refused, by the code of the refusal",
            Box::new(self.refused.clone()),
        );
    }

    /// A request got its slot.
    pub fn begun(&self) {
        self.begun.inc();
    }

    /// The first token of an answer is known.
    pub fn first_token(&self, since_submitted: Duration) {
        self.first_token.observe(since_submitted.as_secs_f64());
    }

    /// Another token is known.
    pub fn token(&self, since_last: Duration) {
        self.inter_token.observe(since_last.as_secs_f64());
    }

    /// A request ended, in its slot or before it had one.
    pub fn ended(&self, outcome: Outcome, e2e: Duration, tokens_in: u64, tokens_out: u64) {
        let finished_reason = outcome;
        self.finished
            .get_or_create(&Finished { finished_reason })
            .inc();
        self.e2e.observe(e2e.as_secs_f64());
        self.prompt_tokens.inc_by(tokens_in);
        self.generation_tokens.inc_by(tokens_out);
    }

    /// An HTTP request was refused.
    pub fn refused(&self, code: ErrorCode) {
        let code = code.as_str();
        self.refused.get_or_create(&Code { code }).inc();
    }

    /// Everything as Prometheus reads it: text format 0.0.4.
    pub fn text(&self, load: &Load, memory: &MemoryUse, uptime: Duration) -> String {
        self.running.set(i64::from(load.running));
        self.slots_busy.set(i64::from(load.running));
        self.waiting.set(i64::from(load.waiting));
        let usage = match load.kv_capacity {
            0 => 0.0,
            capacity => load.kv_tokens as f64 / capacity as f64,
        };
        self.kv_usage.set(usage);
        self.uptime.set(uptime.as_secs().cast_signed());
        for (kind, bytes) in [("weights", memory.weights), ("kv", memory.kv)] {
            self.memory
                .get_or_create(&Kind { kind })
                .set(bytes.cast_signed());
        }
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &self.registry);
        classic(&text)
    }
}

/// A metric of any kind, to be registered by the same code.
trait Registered {
    fn register(self: Box<Self>, registry: &mut Registry, name: &str, help: &str);
}

impl<M: prometheus_client::registry::Metric> Registered for M {
    fn register(self: Box<Self>, registry: &mut Registry, name: &str, help: &str) {
        registry.register(name, help, *self);
    }
}

/// `OpenMetrics` in Prometheus' older text format: there a counter is called as its sample is, an info is a gauge, and
/// nothing marks the end.
fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines().filter(|&line| line != "# EOF") {
        if let Some(line) = line.strip_prefix("# HELP ") {
            help = line.split_once(' ').map(|(_, help)| help);
            continue;
        }
        let described = line
            .strip_prefix("# TYPE ")
            .and_then(|line| line.rsplit_once(' '));
        let Some((name, kind)) = described else {
            text.extend([line, "\n"]);
            continue;
        };
        let (suffix, kind) = match kind {
            "counter" => ("_total", "counter"),
            "info" => ("_info", "gauge"),
            kind => ("", kind),
        };
        if let Some(help) = help.take() {
            text += &format!("# HELP {name}{suffix} {help}\n");
        }
        text += &format!("# TYPE {name}{suffix} {kind}\n");
    }
    text
}
