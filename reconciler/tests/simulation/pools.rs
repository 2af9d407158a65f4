//! What the pools of a random fleet say.

use std::collections::BTreeMap;

use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::name::FleetName;
use pool_core::observation::{
    DeviceInfo, Memory, ObservedLink, ObservedModel, ObservedOrchestrator, PoolObservation,
};
use pool_core::orchestrator::ConfigFile;
use pool_core::supply::Rates;
use pool_core::worker::{ProcessIdentity, Supervise, WorkerSpec, WorkerState};
use proptest::prelude::*;
use proptest::sample::select;
use reconciler::desired::Desired;
use reconciler::observed::{Bare, Observed, PoolState, Unknown};

use super::disk::Disk;
use super::{
    FLEET, GIB, MODELS, ORCHESTRATOR_PORTS, OTHER, POOLS, address, build, config, entry, fresh,
    link_url, linux, manifest, observed_orchestrator, observed_worker, orchestrator_spec,
};

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

/// What the pools of a fleet say that serve most of what it asks for, some of it otherwise, and have little memory left.
pub fn served(desired: &Desired) -> impl Strategy<Value = Observed> + use<> {
    let pools = desired.pools.iter().map(|(name, wanted)| {
        let workers = wanted.workers.iter().map(|(address, worker)| {
            let what = (1u32..3, 0u8..2, prop::option::of(100u64..10_000));
            let (address, model) = (address.clone(), worker.model.to_string());
            let model = prop_oneof![4 => Just(model), 1 => Just("one".to_owned())];
            let is_there = prop::bool::weighted(0.9);
            (Just(address), model, what, is_there)
        });
        let workers: Vec<_> = workers.collect();
        let available = select(&[0, GIB, GIB, 4 * GIB, 64 * GIB][..]);
        let version = 0u8..2;
        (Just(name.clone()), workers, available, version)
    });
    let pools: Vec<_> = pools.collect();
    pools.prop_map(|pools| {
        let pools = pools
            .into_iter()
            .map(|(name, workers, available, version)| {
                let bare = Bare {
                    platform: linux(),
                    installed: None,
                    broken: None,
                };
                let PoolState::Known(mut seen) = fresh(&bare, build(1)) else {
                    unreachable!("a fresh pool is known");
                };
                seen.devices[0].memory.available = available;
                for model in MODELS {
                    let fleet = Some(FLEET.parse().unwrap());
                    let mut entry =
                        entry(&model.parse().unwrap(), &manifest(model, version), fleet);
                    entry.downloaded = true;
                    seen.models.push(ObservedModel {
                        entry,
                        damaged: Vec::new(),
                        touched: Vec::new(),
                    });
                }
                for (n, (address, model, (slots, version, load_ms), is_there)) in
                    workers.into_iter().enumerate()
                {
                    if !is_there {
                        continue;
                    }
                    let spec = WorkerSpec {
                        device: address.device,
                        address: Some(address),
                        fleet: Some(FLEET.parse().unwrap()),
                        model_digest: manifest(&model, version).digest(),
                        model: model.parse().unwrap(),
                        slots,
                        context: None,
                        dtype: pool_core::weights::Dtype::Auto,
                        quantize: None,
                        advertise: None,
                        supervise: Supervise::None,
                        ephemeral: false,
                    };
                    let id = format!("w{n}");
                    let mut worker = observed_worker(&id, spec, WorkerState::Ready, true, true);
                    (worker.record.memory, worker.record.load_ms) = (Some(3 * GIB), load_ms);
                    seen.workers.push(worker);
                }
                (name, PoolState::Known(seen))
            });
        Observed {
            pools: pools.collect(),
        }
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

/// What is there of a content that the catalog names.
#[derive(Debug, Clone, Copy)]
enum There {
    Whole,
    Touched,
    Not,
}

fn known_pool(pool: &'static str) -> impl Strategy<Value = PoolState> {
    let protect = || prop::bool::weighted(0.2);
    let model = (
        select(&MODELS[..]),
        0u8..2,
        owner(),
        any::<bool>(),
        protect(),
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
            1..4 * GIB,
        ),
        (
            owner(),
            state,
            prop::bool::weighted(0.8),
            prop::bool::weighted(0.8),
        ),
        // Some were recorded when the pool had another name.
        prop_oneof![9 => Just(pool), 1 => Just("z")],
        (protect(), prop::option::of(100u64..10_000)),
    );
    let content =
        prop_oneof![6 => Just(There::Whole), 1 => Just(There::Touched), 1 => Just(There::Not)];
    let orchestrator = (
        select(&[FLEET, FLEET, OTHER][..]),
        select(&ORCHESTRATOR_PORTS[..]),
        select(vec![
            WorkerState::Ready,
            WorkerState::Ready,
            WorkerState::Starting,
        ]),
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.8),
        0u8..2,
    );
    let orchestrators = prop_oneof![
        3 => Just(Vec::new()),
        1 => prop::collection::vec(orchestrator, 1..3),
    ];
    let link = (
        select(&[true, true, false][..]),
        select(&["one token", "another"][..]),
    );
    let ours = (orchestrators, prop::option::weighted(0.3, link));
    let parts = (
        prop::option::of(0u8..2),
        prop::collection::vec(model, 0..3),
        prop::collection::vec(content, 2 * MODELS.len() + 1),
        prop::collection::vec(worker, 0..4),
        select(&[0, GIB, 3 * GIB, 6 * GIB, 64 * GIB, 64 * GIB][..]),
        select(&[100, 3 * GIB / 2, 100 * GIB, 100 * GIB][..]),
        ours,
    );
    parts.prop_map(
        |(installed, models, contents, workers, available, free, ours)| {
            let mut seen = PoolObservation {
                hostname: "host".into(),
                platform: linux(),
                home: "/home/rbee".into(),
                home_id: None,
                build: installed.map(build),
                hive_version: "0.1.0".into(),
                disk_free_bytes: Some(0),
                address: None,
                rates: Rates::default(),
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
            };
            let mut disk = Disk {
                free,
                ..Disk::default()
            };
            for (name, version, fleet, downloaded, protect) in models {
                if seen
                    .models
                    .iter()
                    .any(|model| model.entry.id.as_str() == name)
                {
                    continue;
                }
                let mut entry = entry(&name.parse().unwrap(), &manifest(name, version), fleet);
                (entry.downloaded, entry.protect) = (downloaded, protect);
                let place = MODELS.iter().position(|model| *model == name).unwrap();
                let states = [
                    contents[2 * place],
                    contents[2 * place + 1],
                    contents[2 * MODELS.len()],
                ];
                for (file, state) in entry.files.iter().zip(states) {
                    match state {
                        There::Whole => {
                            disk.whole.insert(file.file.sha256);
                        }
                        There::Touched => {
                            disk.touched.insert(file.file.sha256);
                        }
                        There::Not => {}
                    }
                }
                seen.models.push(ObservedModel {
                    entry,
                    damaged: Vec::new(),
                    touched: Vec::new(),
                });
            }
            disk.tell(&mut seen);
            for (n, (what, (fleet, state, alive, answers), pool, (protect, load_ms))) in
                workers.into_iter().enumerate()
            {
                let (name, model, version, slots, bytes) = what;
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
                    supervise: Supervise::None,
                    ephemeral: false,
                };
                let mut worker =
                    observed_worker(&format!("w{n}"), spec, state, alive, alive && answers);
                worker.record.memory = Some(bytes);
                (worker.record.protect, worker.record.load_ms) = (protect, load_ms);
                worker.record.process = Some(ProcessIdentity {
                    pid: 100 + n as u32,
                    pid_started_at: 1,
                    boot_id: "boot".into(),
                });
                seen.workers.push(worker);
            }
            let (orchestrators, link) = ours;
            for (fleet, port, state, alive, answers, version) in orchestrators {
                let fleet: FleetName = fleet.parse().unwrap();
                let is_of = |seen: &ObservedOrchestrator| seen.record.spec.fleet == fleet;
                if !seen.orchestrators.iter().any(is_of) {
                    let spec = orchestrator_spec(fleet, port);
                    let given = [(ConfigFile::Tenants, config(version))];
                    seen.configs.insert(spec.fleet.clone(), given.into());
                    let mut orchestrator = observed_orchestrator(spec, Some(build(version)));
                    orchestrator.record.state = state;
                    (orchestrator.alive, orchestrator.answers) = (alive, alive && answers);
                    seen.orchestrators.push(orchestrator);
                }
            }
            if let Some((leads, token)) = link {
                let link = ObservedLink {
                    orchestrator: leads.then(|| link_url(pool)),
                    token: Sha256::of(token),
                };
                seen.links.insert(FLEET.parse().unwrap(), link);
            }
            PoolState::Known(Box::new(seen))
        },
    )
}
