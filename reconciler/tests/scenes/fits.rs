//! Devices that have, lack and are given memory.

use pool_core::device::Device;
use pool_core::observation::{ObservedModel, ObservedWorker};
use pool_core::weights::Dtype;
use pool_core::worker::{Supervise, WorkerSpec, WorkerState};
use reconciler::observed::{Bare, Observed, PoolState};

use crate::simulation::{
    FLEET, GIB, address, build, entry, fresh, linux, manifest, observed_worker,
};

/// A worker of the model whose shape is known.
fn worker(name: &str, slots: u32, memory: u64) -> ObservedWorker {
    let spec = WorkerSpec {
        address: Some(address(name, "a", Device::Cpu)),
        fleet: Some(FLEET.parse().unwrap()),
        model: "three".parse().unwrap(),
        model_digest: manifest("three", 0).digest(),
        device: Device::Cpu,
        slots,
        context: None,
        dtype: Dtype::Auto,
        quantize: None,
        advertise: None,
        supervise: Supervise::None,
        ephemeral: false,
    };
    let id = format!("{name}-1");
    let mut worker = observed_worker(&id, spec, WorkerState::Ready, true, true);
    worker.record.memory = Some(memory);
    worker
}

/// A pool with so much memory free beside these workers.
fn pool(free: u64, workers: Vec<ObservedWorker>) -> Observed {
    let bare = Bare {
        platform: linux(),
        installed: None,
        broken: None,
    };
    let PoolState::Known(mut seen) = fresh(&bare, build(1)) else {
        unreachable!("a fresh pool is known");
    };
    let whole = |model: &str| {
        let owner = Some(FLEET.parse().unwrap());
        let mut entry = entry(&model.parse().unwrap(), &manifest(model, 0), owner);
        entry.downloaded = true;
        ObservedModel {
            entry,
            damaged: Vec::new(),
            touched: Vec::new(),
        }
    };
    seen.devices.retain(|info| info.device == Device::Cpu);
    seen.devices[0].memory.available = free;
    seen.models = ["one", "three"].map(whole).into();
    seen.workers = workers;
    Observed {
        pools: [("a".parse().unwrap(), PoolState::Known(seen))].into(),
    }
}

pub fn scenes() -> Vec<(&'static str, Observed)> {
    let mut unknown = pool(0, Vec::new());
    for state in unknown.pools.values_mut() {
        if let PoolState::Known(seen) = state {
            seen.devices[0].memory.total = 0;
        }
    }
    let large = worker("code", 64, 4 * GIB);
    vec![
        (
            "fit-after-stopping",
            pool(GIB, vec![worker("old", 1, 2 * GIB)]),
        ),
        ("fit-never", pool(GIB, vec![worker("chat", 1, 2 * GIB)])),
        ("fit-one-of-two", pool(3 * GIB, Vec::new())),
        ("fit-once-another-shrank", pool(2 * GIB, vec![large])),
        ("fit-guessed", pool(2 * GIB, Vec::new())),
        ("fit-unknown-memory", unknown),
    ]
}
