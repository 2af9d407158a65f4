//! What the pools of a random fleet say.

use pool_core::device::Device;
use pool_core::name::FleetName;
use pool_core::observation::{DeviceInfo, Memory, ObservedModel, PoolObservation};
use pool_core::supply::Rates;
use pool_core::worker::{Supervise, WorkerSpec, WorkerState};
use proptest::prelude::*;
use proptest::sample::select;
use reconciler::observed::{Bare, Observed, PoolState, Unknown};

use super::disk::Disk;
use super::{
    FLEET, GIB, MODELS, OTHER, POOLS, address, build, entry, linux, manifest, observed_worker,
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
    let model = (select(&MODELS[..]), 0u8..2, owner(), any::<bool>());
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
    );
    let content =
        prop_oneof![6 => Just(There::Whole), 1 => Just(There::Touched), 1 => Just(There::Not)];
    let parts = (
        prop::option::of(0u8..2),
        prop::collection::vec(model, 0..3),
        prop::collection::vec(content, 2 * MODELS.len() + 1),
        prop::collection::vec(worker, 0..4),
        select(&[0, GIB, 3 * GIB, 6 * GIB, 64 * GIB, 64 * GIB][..]),
        select(&[100, 3 * GIB / 2, 100 * GIB, 100 * GIB][..]),
    );
    parts.prop_map(|(installed, models, contents, workers, available, free)| {
        let mut seen = PoolObservation {
            hostname: "host".into(),
            platform: linux(),
            home: "/home/rbee".into(),
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
            }],
            arrived: std::collections::BTreeMap::new(),
            models: Vec::new(),
            workers: Vec::new(),
        };
        let mut disk = Disk {
            free,
            ..Disk::default()
        };
        for (name, version, fleet, downloaded) in models {
            if seen
                .models
                .iter()
                .any(|model| model.entry.id.as_str() == name)
            {
                continue;
            }
            let mut entry = entry(&name.parse().unwrap(), &manifest(name, version), fleet);
            entry.downloaded = downloaded;
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
        for (n, ((name, model, version, slots, bytes), (fleet, state, alive, answers), pool)) in
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
                supervise: Supervise::None,
            };
            let mut worker =
                observed_worker(&format!("w{n}"), spec, state, alive, alive && answers);
            worker.record.memory = Some(bytes);
            seen.workers.push(worker);
        }
        PoolState::Known(Box::new(seen))
    })
}
