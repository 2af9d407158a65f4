//! How long pure planning takes: `cargo run --release --example plan_speed -- POOLS WORKERS MODELS`.
//!
//! Prints one line of JSON for a fleet that is as it should be, one for a fleet that is all to be brought, one for a fleet
//! whose workers are all replaced. The models are those of the fleet; each worker of a pool serves another, and the pool's
//! catalog holds what these do not serve for a person. Milliseconds are of `diff` and `plan` together; resolving fleet.yaml and observing are
//! not part of them.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use pool_core::device::{Backend, Device};
use pool_core::digest::Sha256;
use pool_core::model::{CatalogEntry, Format, Manifest, ModelFacts, ModelFile, Origin};
use pool_core::name::{FleetName, ModelId, PoolName};
use pool_core::observation::{
    DeviceInfo, Memory, ObservedModel, ObservedWorker, Platform, PoolObservation,
};
use pool_core::supply::Rates;
use pool_core::weights::Dtype;
use pool_core::worker::{
    Canary, ProcessIdentity, Supervise, WorkerRecord, WorkerSpec, WorkerState,
};
use reconciler::desired::{Content, Desired, DesiredModel, DesiredPool, DesiredWorker, Purpose};
use reconciler::diff::diff;
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::Plan;
use reconciler::planner::{Options, plan};

/// Timed runs, after one that is not.
const RUNS: usize = 11;
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    let sizes: Vec<usize> = std::env::args()
        .skip(1)
        .map(|size| size.parse().unwrap())
        .collect();
    let [pools, workers, models] = sizes[..] else {
        panic!("POOLS WORKERS MODELS");
    };
    let fleet = Fleet {
        pools,
        workers,
        models,
    };
    let desired = fleet.desired(1);
    for (name, observed) in [
        ("nothing to do", fleet.observed(&desired, true)),
        ("everything new", fleet.observed(&desired, false)),
        (
            "every worker replaced",
            fleet.observed(&fleet.desired(2), true),
        ),
    ] {
        let (times, plan) = time(&desired, &observed);
        let line = serde_json::json!({
            "fleet": name,
            "pools": pools,
            "workers": workers,
            "models": models,
            "actions": plan.actions.len(),
            "blocked": plan.blocked.len(),
            "ms_median": times[times.len() / 2],
            "ms_min": times[0],
            "ms_max": times[times.len() - 1],
        });
        println!("{line}");
    }
}

/// Milliseconds of each run, sorted.
fn time(desired: &Desired, observed: &Observed) -> (Vec<f64>, Plan) {
    let run = || {
        let options = Options { prune_models: true };
        let began = Instant::now();
        let plan = plan(&diff(desired, observed), options);
        (began.elapsed().as_secs_f64() * 1000.0, plan)
    };
    let (_, plan) = run();
    let mut times: Vec<f64> = (0..RUNS).map(|_| run().0).collect();
    times.sort_by(f64::total_cmp);
    (times, plan)
}

/// Sizes of a fleet; workers and models are of each pool.
struct Fleet {
    pools: usize,
    workers: usize,
    models: usize,
}

impl Fleet {
    fn name() -> FleetName {
        "speed".parse().unwrap()
    }

    fn pool(place: usize) -> PoolName {
        format!("pool-{place:05}").parse().unwrap()
    }

    fn model_id(n: usize) -> ModelId {
        format!("model-{n}").parse().unwrap()
    }

    fn desired(&self, slots: u32) -> Desired {
        let contents: Vec<(ModelId, Arc<Content>)> = (0..self.models)
            .map(|n| {
                let id = Self::model_id(n);
                let content = Content::new(Some("7ae557604adf".into()), manifest(n));
                (id, Arc::new(content))
            })
            .collect();
        let pools = (0..self.pools).map(|place| {
            let pool = Self::pool(place);
            let mut wanted = DesiredPool::default();
            for n in 0..self.workers {
                let (id, content) = &contents[(place + n) % contents.len()];
                let model = DesiredModel {
                    source: format!("hf:org/{id}").parse().unwrap(),
                    content: Ok(content.clone()),
                    protect: false,
                    max_outage_ms: None,
                };
                wanted.models.insert(id.clone(), model);
                let worker = DesiredWorker {
                    model: id.clone(),
                    device: Device::Cpu,
                    slots,
                    context: None,
                    dtype: Dtype::Auto,
                    quantize: None,
                    advertise: None,
                    supervise: Supervise::None,
                    canary: Canary::default(),
                    protect: false,
                    ephemeral: false,
                };
                let address = format!("worker-{n}/{pool}/cpu/0").parse().unwrap();
                wanted.workers.insert(address, worker);
            }
            (pool, wanted)
        });
        Desired {
            home: None,
            warnings: Vec::new(),
            fleet: Self::name(),
            purpose: Purpose::Apply,
            builds: [(TARGET.to_owned(), Ok(Sha256::of("build")))].into(),
            declared: BTreeMap::new(),
            pools: pools.collect(),
        }
    }

    /// What the pools say that are as `desired` says, or that have nothing but a hive.
    fn observed(&self, desired: &Desired, is_there: bool) -> Observed {
        let pools = desired.pools.iter().map(|(name, wanted)| {
            let mut seen = empty();
            if is_there {
                seen.models = (0..self.models).map(|n| Self::model(n, wanted)).collect();
                let workers = wanted.workers.iter().enumerate();
                let workers = workers.map(|(n, (address, worker))| {
                    let content = wanted.models[&worker.model].content.as_ref().unwrap();
                    let spec = worker.spec(&Self::name(), address, content.digest());
                    running(n, spec)
                });
                seen.workers = workers.collect();
            }
            (name.clone(), PoolState::Known(Box::new(seen)))
        });
        Observed {
            pools: pools.collect(),
        }
    }

    fn model(n: usize, wanted: &DesiredPool) -> ObservedModel {
        let id = Self::model_id(n);
        let origin = Origin {
            repo: format!("org/{id}"),
            revision: None,
            files: Vec::new(),
        };
        let fleet = wanted.models.contains_key(&id).then(Self::name);
        let mut entry = CatalogEntry::new(id, fleet, origin, manifest(n));
        entry.downloaded = true;
        entry.backends = vec![Backend::Cpu];
        ObservedModel {
            entry,
            damaged: Vec::new(),
            touched: Vec::new(),
        }
    }
}

/// The files of a usual repository: four of weights, and what belongs to them.
fn manifest(model: usize) -> Manifest {
    let weights = (1..=4).map(|n| (format!("model-{n:05}-of-00004.safetensors"), 4 << 30));
    let others = [
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ];
    let others = others.map(|name| (name.to_owned(), 10_000));
    let files = weights.chain(others).map(|(path, size)| ModelFile {
        sha256: Sha256::of(format!("{model} {path}")),
        path: path.parse().unwrap(),
        size,
    });
    let facts = ModelFacts {
        format: Format::Safetensors,
        architecture: "llama".into(),
        context_length: 8192,
        vocab_size: 32_000,
        quantization: None,
        shape: None,
    };
    Manifest::new(files.collect(), facts)
}

fn empty() -> PoolObservation {
    let memory = Memory {
        total: 1 << 50,
        available: 1 << 49,
    };
    PoolObservation {
        hostname: "host".into(),
        platform: Platform {
            os: "Linux".into(),
            arch: "x86_64".into(),
        },
        home: "/home/rbee".into(),
        home_id: None,
        build: Some(Sha256::of("build")),
        hive_version: "0.1.0".into(),
        disk_free_bytes: Some(1 << 50),
        address: None,
        rates: Rates::default(),
        memory,
        devices: vec![DeviceInfo {
            device: Device::Cpu,
            name: "a processor".into(),
            memory,
            threads: Some(8),
            capability: None,
            driver: None,
        }],
        no_cuda: None,
        arrived: BTreeMap::new(),
        models: Vec::new(),
        workers: Vec::new(),
        orchestrators: Vec::new(),
        links: BTreeMap::new(),
        configs: BTreeMap::new(),
    }
}

fn running(n: usize, spec: WorkerSpec) -> ObservedWorker {
    let record = WorkerRecord {
        version: WorkerRecord::VERSION,
        id: format!("worker-{n}").parse().unwrap(),
        spec_hash: spec.hash(),
        spec,
        listen: "127.0.0.1:8001".parse().unwrap(),
        process: Some(ProcessIdentity {
            pid: 1000 + n as u32,
            pid_started_at: 1,
            boot_id: "boot".into(),
        }),
        started_at: "2024-01-01T00:00:00Z".parse().unwrap(),
        state: WorkerState::Ready,
        log: "/home/rbee/logs/w.log".into(),
        program: "/home/rbee/bin/llm-worker-rbee".into(),
        memory: Some(1 << 30),
        protect: false,
        load_ms: Some(2000),
        failure: None,
    };
    ObservedWorker {
        record,
        alive: true,
        answers: true,
        health: None,
    }
}
