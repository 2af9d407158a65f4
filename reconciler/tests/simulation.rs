//! Fleets and pools made at random, and what applying a plan does to them.

mod disk;
mod pools;
mod world;

pub use pools::{observed, served};
pub use world::Simulation;

use std::collections::BTreeMap;
use std::sync::Arc;

use pool_core::address::WorkerAddress;
use pool_core::device::{Backend, Device};
use pool_core::digest::Sha256;
use pool_core::fit::Shape;
use pool_core::model::{
    CatalogEntry, CatalogFile, Format, Manifest, ModelFacts, ModelFile, Origin,
};
use pool_core::name::{FleetName, ModelId};
use pool_core::observation::{
    DeviceInfo, Memory, ObservedOrchestrator, ObservedWorker, Platform, PoolObservation,
};
use pool_core::orchestrator::{ConfigFile, OrchestratorRecord, OrchestratorSpec, Settings};
use pool_core::registration::BaseUrl;
use pool_core::source::Source;
use pool_core::supply::Rates;
use pool_core::worker::{Canary, Supervise, WorkerRecord, WorkerSpec, WorkerState};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use reconciler::desired::{
    Builds, Content, Desired, DesiredConfig, DesiredLink, DesiredModel, DesiredPool, DesiredWorker,
    Purpose,
};
use reconciler::observed::{Bare, PoolState};
use reconciler::resolve::{Known, resolve};

pub const FLEET: &str = "home";
pub const OTHER: &str = "lab";
pub const POOLS: [&str; 3] = ["a", "b", "c"];
pub const MODELS: [&str; 3] = ["one", "two", "three"];
pub const GIB: u64 = 1 << 30;

/// A model's files at one of several versions of its content; the weights of `sharded` are three files.
pub fn manifest(model: &str, version: u8) -> Manifest {
    let file = |path: &str, text: String, size| ModelFile {
        path: path.parse().unwrap(),
        size,
        sha256: Sha256::of(text),
    };
    let facts = ModelFacts {
        format: Format::Safetensors,
        architecture: "llama".into(),
        context_length: 512,
        vocab_size: 300,
        quantization: None,
        shape: (model == "three").then(shape),
    };
    let mut files = vec![
        file("config.json", format!("{model} config"), 500),
        file("tokenizer.json", "one tokenizer for all".into(), 9000),
    ];
    if model == "sharded" {
        files.extend((1..=3).map(|n| {
            let path = format!("model-{n:05}-of-00003.safetensors");
            file(&path, format!("shard {n} at {version}"), GIB)
        }));
    } else {
        let weights = format!("{model} weights {version}");
        files.push(file("model.safetensors", weights, GIB));
    }
    Manifest::new(files, facts)
}

/// The shape of the one model that has a known one: 1,235,814,400 parameters.
fn shape() -> Shape {
    Shape {
        layers: 16,
        hidden: 2048,
        intermediate: 8192,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 128_256,
        tied: true,
        biases: 0,
        context: 512,
        as_stored: None,
        matrices_as_stored: None,
        is_f32: false,
    }
}

/// What a model with this source and these files is.
pub fn content(source: &Source, manifest: Manifest) -> Content {
    let commit = matches!(source, Source::Hub { .. }).then(|| "7ae557604adf".to_owned());
    Content::new(commit, manifest)
}

/// The state that the fleet in this text asks for, all its models known.
pub fn resolved(text: &str) -> Desired {
    let fleet = reconciler::fleet::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let contents = fleet.models.iter().map(|(id, model)| {
        let manifest = manifest(id.as_str(), 0);
        (id.clone(), Ok(content(&model.source.value, manifest)))
    });
    let known = Known {
        contents: contents.collect(),
        builds: builds(1),
        ..Known::default()
    };
    resolve(&fleet, &known).unwrap()
}

pub fn builds(version: u8) -> Builds {
    [("x86_64-unknown-linux-gnu".to_owned(), Ok(build(version)))].into()
}

pub fn build(version: u8) -> Sha256 {
    Sha256::of(format!("build {version}"))
}

pub fn desired() -> impl Strategy<Value = Desired> {
    let pool = (
        worker_set(),
        subsequence(&MODELS[..], 0..=1),
        subsequence(&MODELS[..], 0..=2),
    );
    let pools = prop::collection::vec(pool, POOLS.len());
    let orchestrator = prop::option::of((0..POOLS.len(), select(&ORCHESTRATOR_PORTS[..])));
    (pools, 0u8..2, 0..=POOLS.len(), orchestrator).prop_map(
        |(pools, version, local, orchestrator)| Desired {
            fleet: FLEET.parse().unwrap(),
            purpose: Purpose::Apply,
            builds: builds(1),
            declared: BTreeMap::new(),
            pools: POOLS
                .iter()
                .zip(pools)
                .enumerate()
                .map(|(place, (pool, (workers, unknown, protected)))| {
                    let mut wanted = DesiredPool {
                        is_local: place == local,
                        ..DesiredPool::default()
                    };
                    for (name, model, device, slots, protect) in workers {
                        if wanted.workers.contains_key(&address(name, pool, device)) {
                            continue;
                        }
                        let source = source(model);
                        let content = if unknown.contains(&model) {
                            Err("its folder is gone".into())
                        } else {
                            Ok(Arc::new(content(&source, manifest(model, version))))
                        };
                        let id: ModelId = model.parse().unwrap();
                        wanted.models.insert(
                            id.clone(),
                            DesiredModel {
                                source,
                                content,
                                protect: protected.contains(&model),
                                max_outage_ms: None,
                            },
                        );
                        let worker = DesiredWorker {
                            model: id,
                            device,
                            slots,
                            context: None,
                            dtype: pool_core::weights::Dtype::Auto,
                            quantize: None,
                            advertise: None,
                            supervise: Supervise::None,
                            canary: Canary::default(),
                            protect,
                            ephemeral: false,
                        };
                        wanted.workers.insert(address(name, pool, device), worker);
                    }
                    wanted.link = match orchestrator {
                        _ if wanted.workers.is_empty() => DesiredLink::None,
                        Some(_) => DesiredLink::Fleet((place != 2).then(|| link_url(pool))),
                        None => DesiredLink::Own,
                    };
                    if let Some((_, port)) = orchestrator.filter(|(home, _)| *home == place) {
                        wanted.orchestrator = Some(orchestrator_spec(FLEET.parse().unwrap(), port));
                        wanted.link = DesiredLink::Fleet(Some(link_url(pool)));
                        let tenants = DesiredConfig {
                            path: "tenants.yaml".into(),
                            digest: config(version),
                        };
                        wanted.configs.insert(ConfigFile::Tenants, tenants);
                    }
                    (pool.parse().unwrap(), wanted)
                })
                .collect(),
            home: orchestrator.map(|(home, _)| POOLS[home].parse().unwrap()),
            warnings: Vec::new(),
        },
    )
}

/// What a file of the orchestrator holds at one of several versions.
pub fn config(version: u8) -> Sha256 {
    Sha256::of(format!("tenants {version}"))
}

/// Where the workers of a pool find the orchestrator.
pub fn link_url(pool: &str) -> BaseUrl {
    format!("http://{pool}:8080").parse().unwrap()
}

pub const ORCHESTRATOR_PORTS: [u16; 2] = [8080, 9000];

pub fn orchestrator_spec(fleet: FleetName, port: u16) -> OrchestratorSpec {
    OrchestratorSpec {
        fleet,
        listen: ([127, 0, 0, 1], port).into(),
        supervise: Supervise::None,
        settings: Settings::default(),
        files: [ConfigFile::Tenants].into(),
    }
}

/// One that serves.
pub fn observed_orchestrator(
    spec: OrchestratorSpec,
    build: Option<Sha256>,
) -> ObservedOrchestrator {
    ObservedOrchestrator {
        record: OrchestratorRecord {
            version: OrchestratorRecord::VERSION,
            spec_hash: spec.hash(),
            spec,
            process: None,
            started_at: "2024-01-01T00:00:00Z".parse().unwrap(),
            state: WorkerState::Ready,
            log: "/home/rbee/logs/orchestrator.log".into(),
            program: "/home/rbee/bin/orchestratord".into(),
            failure: None,
        },
        build,
        alive: true,
        answers: true,
    }
}

/// Two of the models are the hub's, one is a folder's.
fn source(model: &str) -> Source {
    let text = match model {
        "two" => "./somewhere".into(),
        _ => format!("hf:org/{model}"),
    };
    text.parse().unwrap()
}

type Wanted = (&'static str, &'static str, Device, u32, bool);

fn worker_set() -> impl Strategy<Value = Vec<Wanted>> {
    let device = prop_oneof![4 => Just(Device::Cpu), 1 => Just(Device::Cuda(0))];
    let worker = (
        select(&["chat", "code", "all"][..]),
        select(&MODELS[..]),
        device,
        1u32..3,
        prop::bool::weighted(0.3),
    );
    prop::collection::vec(worker, 0..4)
}

pub fn address(name: &str, pool: &str, device: Device) -> WorkerAddress {
    format!("{name}/{pool}/{device}/0").parse().unwrap()
}

pub fn linux() -> Platform {
    Platform {
        os: "Linux".into(),
        arch: "x86_64".into(),
    }
}

pub fn entry(id: &ModelId, manifest: &Manifest, fleet: Option<FleetName>) -> CatalogEntry {
    CatalogEntry {
        id: id.clone(),
        name: id.to_string(),
        fleet,
        protect: false,
        source: Origin {
            repo: "./somewhere".into(),
            revision: None,
            files: Vec::new(),
        },
        path: format!("/home/rbee/models/{id}"),
        digest: manifest.digest(),
        size_bytes: manifest.size(),
        files: manifest
            .files
            .iter()
            .map(|file| CatalogFile {
                file: file.clone(),
                verified_at: None,
                verified: None,
            })
            .collect(),
        downloaded: false,
        backends: vec![Backend::Cpu],
        facts: manifest.facts.clone(),
    }
}

pub fn observed_worker(
    id: &str,
    spec: WorkerSpec,
    state: WorkerState,
    alive: bool,
    answers: bool,
) -> ObservedWorker {
    let record = WorkerRecord {
        version: WorkerRecord::VERSION,
        id: id.parse().unwrap(),
        spec_hash: spec.hash(),
        spec,
        listen: "127.0.0.1:8001".parse().unwrap(),
        process: None,
        started_at: "2024-01-01T00:00:00Z".parse().unwrap(),
        state,
        log: "/home/rbee/logs/w.log".into(),
        program: "/home/rbee/bin/llm-worker-rbee".into(),
        memory: None,
        failure: None,
        protect: false,
        load_ms: None,
    };
    ObservedWorker {
        record,
        alive,
        answers,
        health: None,
    }
}

/// What a bare pool is once it has a hive.
pub fn fresh(bare: &Bare, build: Sha256) -> PoolState {
    let memory = Memory {
        total: 64 * GIB,
        available: 64 * GIB,
    };
    PoolState::Known(Box::new(PoolObservation {
        hostname: "host".into(),
        platform: bare.platform.clone(),
        home: "/home/rbee".into(),
        home_id: None,
        build: Some(build),
        hive_version: "0.1.0".into(),
        disk_free_bytes: Some(100 * GIB),
        address: None,
        rates: Rates::default(),
        memory,
        devices: [Device::Cpu, Device::Cuda(0)]
            .map(|device| DeviceInfo {
                device,
                name: "a processor".into(),
                memory,
                threads: Some(8),
                capability: None,
                driver: None,
            })
            .into(),
        no_cuda: None,
        arrived: BTreeMap::new(),
        models: Vec::new(),
        workers: Vec::new(),
        orchestrators: Vec::new(),
        links: BTreeMap::new(),
        configs: BTreeMap::new(),
    }))
}
