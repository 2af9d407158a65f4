//! What is counted for `GET /metrics`.

use std::time::Duration;

use pool_core::serving::ErrorCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::core::{Condition, Core, Dispatch, Priority, WorkerKey};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByPriority {
    priority: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Worker {
    worker_id: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Attempt {
    worker_id: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Device {
    pool: String,
    device: String,
}

/// The counters of the orchestrator. Labels are of a bounded set: never an id of a task, a client or a tenant.
pub struct Metrics {
    registry: Registry,
    queue_depth: Family<ByPriority, Gauge>,
    enqueued: Family<Outcome, Counter>,
    ended: Family<Outcome, Counter>,
    dispatched: Family<Attempt, Counter>,
    connections: Family<Worker, Gauge>,
    admission_ms: Histogram,
    scheduling_ms: Histogram,
    waited_ms: Histogram,
    first_token_ms: Histogram,
    cancellation_ms: Histogram,
    policy_faults: Family<Outcome, Counter>,
    workers: Family<Outcome, Gauge>,
    memory_free: Family<Device, Gauge>,
}

/// In milliseconds.
const FAST: [f64; 14] = [
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0,
];
const SLOW: [f64; 16] = [
    1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5,
];

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            queue_depth: Family::default(),
            enqueued: Family::default(),
            ended: Family::default(),
            dispatched: Family::default(),
            connections: Family::default(),
            admission_ms: Histogram::new(FAST),
            scheduling_ms: Histogram::new(FAST),
            waited_ms: Histogram::new(SLOW),
            first_token_ms: Histogram::new(SLOW),
            cancellation_ms: Histogram::new(SLOW),
            policy_faults: Family::default(),
            workers: Family::default(),
            memory_free: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        macro_rules! add {
            ($($name:literal, $help:literal, $metric:ident;)*) => {
                $(registry.register($name, $help, self.$metric.clone());)*
            };
        }
        add! {
            "orchd_queue_depth", "Tasks that wait", queue_depth;
            "orchd_tasks_enqueued", "Submissions by what became of them", enqueued;
            "orchd_tasks_ended", "Tasks by how they ended", ended;
            "orchd_tasks_dispatched", "Attempts that ended, by worker and outcome", dispatched;
            "orchd_worker_connections_active", "Attempts that run", connections;
            "orchd_admission_latency_ms", "From a checked request to its place in the queue", admission_ms;
            "orchd_scheduling_latency_ms", "Choosing workers", scheduling_ms;
            "orchd_queue_wait_ms", "From the submission to a worker", waited_ms;
            "orchd_first_token_latency_ms", "From the request to its first token", first_token_ms;
            "orchd_cancellation_latency_ms", "Until a worker acknowledged a cancellation", cancellation_ms;
            "orchd_policy_faults", "Scripts that failed, by hook", policy_faults;
            "pool_mgr_workers", "Workers by condition", workers;
            "pool_mgr_device_memory_free_bytes", "Free memory of devices, as workers say", memory_free;
        }
    }

    pub fn admitted(&self, took: Duration) {
        self.enqueued
            .get_or_create(&Outcome {
                outcome: "admitted",
            })
            .inc();
        self.admission_ms.observe(ms(took));
    }

    pub fn refused(&self, code: ErrorCode) {
        let outcome = code.as_str();
        self.enqueued.get_or_create(&Outcome { outcome }).inc();
    }

    pub fn dispatched(&self, dispatch: &Dispatch, took: Duration) {
        self.scheduling_ms.observe(ms(took));
        self.waited_ms.observe(dispatch.waited_ms as f64);
    }

    /// An attempt on a worker ended: `completed`, `failed`, or `cancelled`.
    pub fn attempted(&self, worker: &WorkerKey, outcome: &'static str) {
        let worker_id = worker.to_string();
        let label = Attempt { worker_id, outcome };
        self.dispatched.get_or_create(&label).inc();
    }

    pub fn ended(&self, outcome: &'static str) {
        self.ended.get_or_create(&Outcome { outcome }).inc();
    }

    pub fn first_token(&self, took: Duration) {
        self.first_token_ms.observe(ms(took));
    }

    pub fn told_to_cancel(&self, took: Duration) {
        self.cancellation_ms.observe(ms(took));
    }

    pub fn policy_fault(&self, hook: &'static str) {
        self.policy_faults
            .get_or_create(&Outcome { outcome: hook })
            .inc();
    }

    /// Reads off what is not counted as it happens.
    pub fn measure(&self, core: &Core) {
        for class in Priority::ALL {
            let priority = class.as_str();
            let depth = core.queued(class).cast_signed() as i64;
            self.queue_depth
                .get_or_create(&ByPriority { priority })
                .set(depth);
        }
        self.connections.clear();
        self.memory_free.clear();
        for condition in Condition::ALL {
            let outcome = condition.as_str();
            let workers = core
                .workers()
                .filter(|worker| worker.condition == condition);
            self.workers
                .get_or_create(&Outcome { outcome })
                .set(workers.count().cast_signed() as i64);
        }
        for worker in core.workers() {
            let worker_id = worker.info.id.to_string();
            let running = i64::from(worker.running);
            self.connections
                .get_or_create(&Worker { worker_id })
                .set(running);
            let device = Device {
                pool: worker.info.pool.clone(),
                device: worker.info.device.to_string(),
            };
            let free = worker.info.memory_free.cast_signed();
            self.memory_free.get_or_create(&device).set(free);
        }
    }

    /// In the text format of OpenMetrics.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}
