//! Fleets and pools made at random, and what applying a plan does to them.

use std::collections::BTreeSet;

use pool_core::address::WorkerAddress;
use pool_core::device::{Backend, Device};
use pool_core::digest::Sha256;
use pool_core::model::{
    CatalogEntry, CatalogFile, Format, Manifest, ModelFacts, ModelFile, Origin,
};
use pool_core::name::{FleetName, ModelId};
use pool_core::observation::{
    DeviceInfo, Memory, ObservedModel, ObservedWorker, Platform, PoolObservation,
};
use pool_core::worker::{WorkerRecord, WorkerSpec, WorkerState};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use reconciler::desired::{Builds, Desired, DesiredModel, DesiredPool, DesiredWorker, Purpose};
use reconciler::observed::{Bare, Observed, PoolState, Unknown};
use reconciler::plan::{Action, ActionId, ActionKind, Plan};
use reconciler::resolve::{Known, resolve};

pub const FLEET: &str = "home";
pub const OTHER: &str = "lab";
const POOLS: [&str; 3] = ["a", "b", "c"];
const MODELS: [&str; 3] = ["one", "two", "three"];
pub const GIB: u64 = 1 << 30;

/// A model's files at one of several versions of its content.
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
    };
    let files = vec![
        file("config.json", format!("{model} config"), 500),
        file(
            "model.safetensors",
            format!("{model} weights {version}"),
            GIB,
        ),
        file("tokenizer.json", "one tokenizer for all".into(), 9000),
    ];
    Manifest::new(files, facts)
}

/// The state that the fleet in this text asks for, all its models known.
pub fn resolved(text: &str, models: &[&str]) -> Desired {
    let fleet = reconciler::fleet::parse(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let contents = models
        .iter()
        .map(|model| (model.parse().unwrap(), Ok(manifest(model, 0))));
    let known = Known {
        contents: contents.collect(),
        builds: builds(1),
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
    let pool = (worker_set(), subsequence(&MODELS[..], 0..=1));
    let pools = prop::collection::vec(pool, POOLS.len());
    (pools, 0u8..2).prop_map(|(pools, version)| Desired {
        fleet: FLEET.parse().unwrap(),
        purpose: Purpose::Apply,
        builds: builds(1),
        pools: POOLS
            .iter()
            .zip(pools)
            .map(|(pool, (workers, unknown))| {
                let mut wanted = DesiredPool::default();
                for (name, model, device, slots) in workers {
                    if wanted.workers.contains_key(&address(name, pool, device)) {
                        continue;
                    }
                    let content = if unknown.contains(&model) {
                        Err("its folder is gone".into())
                    } else {
                        Ok(manifest(model, version))
                    };
                    let source = "./somewhere".parse().unwrap();
                    let id: ModelId = model.parse().unwrap();
                    wanted
                        .models
                        .insert(id.clone(), DesiredModel { source, content });
                    let worker = DesiredWorker {
                        model: id,
                        device,
                        slots,
                        context: None,
                        dtype: pool_core::weights::Dtype::Auto,
                        quantize: None,
                        advertise: None,
                    };
                    wanted.workers.insert(address(name, pool, device), worker);
                }
                (pool.parse().unwrap(), wanted)
            })
            .collect(),
    })
}

type Wanted = (&'static str, &'static str, Device, u32);

fn worker_set() -> impl Strategy<Value = Vec<Wanted>> {
    let device = prop_oneof![4 => Just(Device::Cpu), 1 => Just(Device::Cuda(0))];
    let worker = (
        select(&["chat", "code", "all"][..]),
        select(&MODELS[..]),
        device,
        1u32..3,
    );
    prop::collection::vec(worker, 0..4)
}

pub fn address(name: &str, pool: &str, device: Device) -> WorkerAddress {
    format!("{name}/{pool}/{device}/0").parse().unwrap()
}

pub fn observed() -> impl Strategy<Value = Observed> {
    let states: Vec<_> = POOLS.iter().map(|pool| pool_state(pool)).collect();
    states.prop_map(|states| Observed {
        pools: POOLS
            .iter()
            .map(|pool| pool.parse().unwrap())
            .zip(states)
            .collect(),
    })
}

fn pool_state(pool: &'static str) -> impl Strategy<Value = PoolState> {
    let bare = any::<bool>().prop_map(|broken| {
        PoolState::Bare(Bare {
            platform: linux(),
            installed: broken.then(|| build(0)),
            broken: broken.then(|| "exec format error".into()),
        })
    });
    let unknown = any::<bool>().prop_map(|unreachable| {
        PoolState::Unknown(Unknown {
            unreachable,
            cause: "no route".into(),
            help: None,
        })
    });
    prop_oneof![6 => known_pool(pool), 1 => bare, 1 => unknown]
}

pub fn linux() -> Platform {
    Platform {
        os: "Linux".into(),
        arch: "x86_64".into(),
    }
}

fn owner() -> impl Strategy<Value = Option<FleetName>> {
    select(vec![
        Some(FLEET),
        Some(FLEET),
        Some(FLEET),
        Some(OTHER),
        None,
    ])
    .prop_map(|owner| owner.map(|owner| owner.parse().unwrap()))
}

fn known_pool(pool: &'static str) -> impl Strategy<Value = PoolState> {
    let model = (
        select(&MODELS[..]),
        0u8..2,
        owner(),
        any::<bool>(),
        any::<bool>(),
    );
    let state = select(vec![
        WorkerState::Ready,
        WorkerState::Ready,
        WorkerState::Starting,
        WorkerState::Failed,
    ]);
    let worker = (
        (
            select(&["chat", "code", "old"][..]),
            select(&MODELS[..]),
            0u8..2,
            1u32..3,
        ),
        (
            owner(),
            state,
            prop::bool::weighted(0.8),
            prop::bool::weighted(0.8),
        ),
        // Some were recorded when the pool had another name.
        prop_oneof![9 => Just(pool), 1 => Just("z")],
    );
    let parts = (
        prop::option::of(0u8..2),
        prop::collection::vec(model, 0..3),
        prop::collection::vec(worker, 0..4),
        select(&[0, 5 * GIB, 64 * GIB][..]),
    );
    parts.prop_map(|(installed, models, workers, available)| {
        let mut seen = PoolObservation {
            hostname: "host".into(),
            platform: linux(),
            home: "/home/rbee".into(),
            build: installed.map(build),
            hive_version: "0.1.0".into(),
            disk_free_bytes: 100 * GIB,
            memory: Memory {
                total: 64 * GIB,
                available,
            },
            devices: vec![DeviceInfo {
                device: Device::Cpu,
                name: "a processor".into(),
                memory: Memory {
                    total: 64 * GIB,
                    available,
                },
            }],
            models: Vec::new(),
            workers: Vec::new(),
        };
        for (name, version, fleet, downloaded, damaged) in models {
            if !seen
                .models
                .iter()
                .any(|model| model.entry.id.as_str() == name)
            {
                let mut entry = entry(&name.parse().unwrap(), &manifest(name, version), fleet);
                entry.downloaded = downloaded;
                let damaged = damaged
                    .then(|| "config.json".parse().unwrap())
                    .into_iter()
                    .collect();
                seen.models.push(ObservedModel { entry, damaged });
            }
        }
        for (n, ((name, model, version, slots), (fleet, state, alive, answers), pool)) in
            workers.into_iter().enumerate()
        {
            let spec = WorkerSpec {
                address: Some(address(name, pool, Device::Cpu)),
                fleet,
                model: model.parse().unwrap(),
                model_digest: manifest(model, version).digest(),
                device: Device::Cpu,
                slots,
                context: None,
                dtype: pool_core::weights::Dtype::Auto,
                quantize: None,
                advertise: None,
            };
            seen.workers.push(observed_worker(
                &format!("w{n}"),
                spec,
                state,
                alive,
                alive && answers,
            ));
        }
        PoolState::Known(Box::new(seen))
    })
}

pub fn entry(id: &ModelId, manifest: &Manifest, fleet: Option<FleetName>) -> CatalogEntry {
    CatalogEntry {
        id: id.clone(),
        name: id.to_string(),
        fleet,
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
        failure: None,
    };
    ObservedWorker {
        record,
        alive,
        answers,
    }
}

/// Pools that do what actions say.
pub struct Simulation {
    pub observed: Observed,
    undone: BTreeSet<ActionId>,
    spawned: usize,
}

impl Simulation {
    pub fn new(observed: Observed) -> Self {
        Self {
            observed,
            undone: BTreeSet::new(),
            spawned: 0,
        }
    }

    /// Carries the plan out; an action that fails does nothing, and those that need it are not begun.
    /// Returns what was not done.
    pub fn apply(&mut self, plan: &Plan, succeeds: impl Fn(&Action) -> bool) -> BTreeSet<ActionId> {
        for action in &plan.actions {
            self.apply_one(plan, action, &succeeds);
        }
        std::mem::take(&mut self.undone)
    }

    pub fn apply_one(&mut self, plan: &Plan, action: &Action, succeeds: &dyn Fn(&Action) -> bool) {
        let possible = action.needs.iter().all(|need| !self.undone.contains(need));
        if !possible || !succeeds(action) {
            self.undone.insert(action.id);
            return;
        }
        let state = self
            .observed
            .pools
            .get_mut(&action.pool)
            .expect("the pool was asked");
        if let ActionKind::Install { to, .. } = &action.kind {
            match state {
                PoolState::Known(seen) => seen.build = Some(*to),
                PoolState::Bare(bare) => *state = fresh(bare, *to),
                PoolState::Unknown(_) => panic!("{action:?} on an unknown pool"),
            }
            return;
        }
        let PoolState::Known(seen) = state else {
            panic!("{action:?} without a hive");
        };
        match &action.kind {
            ActionKind::Install { .. } => {}
            ActionKind::Register {
                model, manifest, ..
            } => {
                seen.models.retain(|seen| seen.entry.id != *model);
                let entry = entry(model, manifest, Some(plan.fleet.clone()));
                seen.models.push(ObservedModel {
                    entry,
                    damaged: Vec::new(),
                });
            }
            ActionKind::Copy { model, .. } => {
                let model = seen.models.iter_mut().find(|seen| seen.entry.id == *model);
                model.expect("registered before").entry.downloaded = true;
            }
            ActionKind::Spawn { spec, .. } => {
                let model = seen
                    .models
                    .iter()
                    .find(|seen| seen.entry.id == spec.model)
                    .expect("brought before");
                assert!(
                    model.is_whole() && model.entry.digest == spec.model_digest,
                    "{action:?}: {model:?}"
                );
                let same = |seen: &&mut ObservedWorker| {
                    seen.alive
                        && seen.record.spec_hash == spec.hash()
                        && seen.record.state == WorkerState::Starting
                };
                if let Some(starting) = seen.workers.iter_mut().find(same) {
                    (starting.answers, starting.record.state) = (true, WorkerState::Ready);
                } else {
                    self.spawned += 1;
                    let id = format!("spawned{}", self.spawned);
                    seen.workers.push(observed_worker(
                        &id,
                        (**spec).clone(),
                        WorkerState::Ready,
                        true,
                        true,
                    ));
                }
            }
            ActionKind::Stop { worker, .. } => {
                let before = seen.workers.len();
                seen.workers.retain(|seen| seen.record.id != *worker);
                assert_eq!(
                    seen.workers.len() + 1,
                    before,
                    "{action:?} stops one worker"
                );
            }
            ActionKind::Unregister { model, .. } => {
                let used = seen
                    .workers
                    .iter()
                    .any(|worker| worker.alive && worker.record.spec.model == *model);
                assert!(!used, "{action:?} takes the files of a running worker");
                seen.models.retain(|seen| seen.entry.id != *model);
            }
        }
    }

    /// A worker of the fleet answers at this address.
    pub fn serves(&self, address: &WorkerAddress) -> bool {
        let Some(PoolState::Known(seen)) = self.observed.pools.get(&address.pool) else {
            return false;
        };
        seen.workers.iter().any(|worker| {
            let spec = &worker.record.spec;
            worker.is_serving()
                && spec.address.as_ref() == Some(address)
                && spec
                    .fleet
                    .as_ref()
                    .is_some_and(|fleet| fleet.as_str() == FLEET)
        })
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
        build: Some(build),
        hive_version: "0.1.0".into(),
        disk_free_bytes: 100 * GIB,
        memory,
        devices: [Device::Cpu, Device::Cuda(0)]
            .map(|device| DeviceInfo {
                device,
                name: "a processor".into(),
                memory,
            })
            .into(),
        models: Vec::new(),
        workers: Vec::new(),
    }))
}
