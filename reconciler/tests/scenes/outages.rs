//! Workers that cannot all serve while they are replaced, and things that are kept for good.

use pool_core::device::Device;
use pool_core::name::FleetName;
use pool_core::observation::{ObservedModel, ObservedWorker};
use pool_core::weights::Dtype;
use pool_core::worker::{Supervise, WorkerSpec, WorkerState};
use reconciler::observed::{Bare, Observed, PoolState};

use crate::simulation::{
    FLEET, GIB, address, build, entry, fresh, linux, manifest, observed_worker,
};

fn owner() -> FleetName {
    FLEET.parse().unwrap()
}

/// A model of this version, whole.
pub(super) fn model(id: &str, version: u8) -> ObservedModel {
    let mut entry = entry(&id.parse().unwrap(), &manifest(id, version), Some(owner()));
    entry.downloaded = true;
    ObservedModel {
        entry,
        damaged: Vec::new(),
        touched: Vec::new(),
    }
}

/// A worker with two slots that took 2.1 s to load.
pub(super) fn worker(name: &str, pool: &str, model: &str, version: u8) -> ObservedWorker {
    let spec = WorkerSpec {
        address: Some(address(name, pool, Device::Cpu)),
        fleet: Some(owner()),
        model: model.parse().unwrap(),
        model_digest: manifest(model, version).digest(),
        device: Device::Cpu,
        slots: 2,
        context: None,
        dtype: Dtype::Auto,
        quantize: None,
        advertise: None,
        supervise: Supervise::None,
        ephemeral: false,
    };
    let id = format!("{name}-1");
    let mut worker = observed_worker(&id, spec, WorkerState::Ready, true, true);
    (worker.record.memory, worker.record.load_ms) = (Some(5 * GIB / 2), Some(2100));
    worker
}

pub(super) fn pool(
    free: u64,
    models: Vec<ObservedModel>,
    workers: Vec<ObservedWorker>,
) -> PoolState {
    let bare = Bare {
        platform: linux(),
        installed: None,
        broken: None,
    };
    let PoolState::Known(mut seen) = fresh(&bare, build(1)) else {
        unreachable!("a fresh pool is known");
    };
    seen.devices.retain(|info| info.device == Device::Cpu);
    seen.devices[0].memory.available = free;
    (seen.models, seen.workers) = (models, workers);
    PoolState::Known(seen)
}

fn pools<const N: usize>(pools: [(&str, PoolState); N]) -> Observed {
    let pools = pools.map(|(name, state)| (name.parse().unwrap(), state));
    Observed {
        pools: pools.into(),
    }
}

pub fn scenes() -> Vec<(&'static str, Observed)> {
    let chat = |pool_name, free| {
        let worker = worker("chat", pool_name, "one", 0);
        pool(free, vec![model("one", 0)], vec![worker])
    };
    let mut smaller = model("one", 1);
    smaller.entry.size_bytes = GIB / 2;
    let mut kept = worker("old", "a", "two", 0);
    kept.record.protect = true;
    let mut failed = kept.clone();
    (failed.alive, failed.answers) = (false, false);
    failed.record.state = WorkerState::Failed;
    let mut two = model("two", 0);
    two.entry.protect = true;
    let mut right = worker("chat", "a", "one", 0);
    right.record.spec.slots = 1;
    right.record.spec_hash = right.record.spec.hash();
    let mut unknown_disk = pool(64 * GIB, Vec::new(), Vec::new());
    if let PoolState::Known(seen) = &mut unknown_disk {
        seen.disk_free_bytes = None;
    }
    vec![
        ("outage", pools([("a", chat("a", GIB))])),
        (
            "outage-averted-by-turns",
            pools([("a", chat("a", GIB)), ("b", chat("b", GIB))]),
        ),
        (
            "outage-averted-by-another",
            pools([("a", chat("a", GIB)), ("b", chat("b", 64 * GIB))]),
        ),
        (
            "outage-of-another-content",
            pools([("a", {
                let worker = worker("chat", "a", "one", 1);
                pool(GIB, vec![smaller], vec![worker])
            })]),
        ),
        (
            "outage-averted-by-a-move",
            pools([("a", chat("a", GIB)), ("b", pool(64 * GIB, vec![], vec![]))]),
        ),
        (
            "outage-of-none-that-serves",
            pools([("a", {
                let mut worker = worker("chat", "a", "one", 0);
                worker.answers = false;
                pool(GIB, vec![model("one", 0)], vec![worker])
            })]),
        ),
        (
            "protected",
            pools([(
                "a",
                pool(
                    64 * GIB,
                    vec![model("one", 0), two],
                    vec![right.clone(), kept],
                ),
            )]),
        ),
        (
            "protected-and-failed",
            pools([(
                "a",
                pool(
                    64 * GIB,
                    vec![model("one", 0), model("two", 0)],
                    vec![right.clone(), failed],
                ),
            )]),
        ),
        (
            "fit-not-brought",
            pools([("a", pool(GIB, Vec::new(), Vec::new()))]),
        ),
        ("disk-unknown", pools([("a", unknown_disk)])),
    ]
}
