//! The observations of the committed scenarios.

mod fits;
mod orchestrators;
mod outages;
mod supplies;

use pool_core::device::Device;
use pool_core::model::CatalogEntry;
use pool_core::observation::{ObservedModel, ObservedWorker, Platform};
use pool_core::worker::{Supervise, WorkerSpec, WorkerState};
use reconciler::observed::{Bare, Observed, PoolState, Unknown};

use crate::simulation::{
    FLEET, GIB, OTHER, address, build, entry, fresh, linux, manifest, observed_worker,
};

/// Each scenario's folder and what its pools say.
pub fn scenes() -> Vec<(&'static str, Observed)> {
    let pools = |pools: Vec<(&str, PoolState)>| Observed {
        pools: pools
            .into_iter()
            .map(|(name, state)| (name.parse().unwrap(), state))
            .collect(),
    };
    let bare = || {
        PoolState::Bare(Bare {
            platform: linux(),
            installed: None,
            broken: None,
        })
    };
    let broken = || {
        PoolState::Bare(Bare {
            platform: linux(),
            installed: Some(build(0)),
            broken: Some("its hive is built for Linux aarch64, the pool is Linux x86_64".into()),
        })
    };
    let mac = || {
        let platform = Platform {
            os: "Darwin".into(),
            arch: "arm64".into(),
        };
        PoolState::Bare(Bare {
            platform,
            installed: None,
            broken: None,
        })
    };
    let unknown = |unreachable, cause: &str| {
        PoolState::Unknown(Unknown {
            unreachable,
            cause: cause.into(),
            help: None,
        })
    };
    let content = |model: &str| manifest(model, 0).digest();
    let spec = |label: &str, pool: &str, model: &str, slots| WorkerSpec {
        address: Some(address(label, pool, Device::Cpu)),
        fleet: Some(FLEET.parse().unwrap()),
        model: model.parse().unwrap(),
        model_digest: content(model),
        device: Device::Cpu,
        slots,
        context: None,
        dtype: pool_core::weights::Dtype::Auto,
        quantize: None,
        advertise: None,
        supervise: Supervise::None,
        ephemeral: false,
    };
    let ready = |id: &str, spec: WorkerSpec| {
        let mut worker = observed_worker(id, spec, WorkerState::Ready, true, true);
        worker.record.memory = Some(5 * GIB / 2);
        worker
    };
    let known = |free: u64, models: Vec<ObservedModel>, workers: Vec<ObservedWorker>| {
        let PoolState::Known(mut seen) = fresh(
            &Bare {
                platform: linux(),
                installed: None,
                broken: None,
            },
            build(1),
        ) else {
            unreachable!("a fresh pool is known");
        };
        seen.devices.retain(|info| info.device == Device::Cpu);
        seen.devices[0].memory.available = free;
        (seen.models, seen.workers) = (models, workers);
        PoolState::Known(seen)
    };
    let whole = |model: &str, fleet: &str| {
        let mut entry = entry(
            &model.parse().unwrap(),
            &manifest(model, 0),
            Some(fleet.parse().unwrap()),
        );
        entry.downloaded = true;
        ObservedModel {
            entry,
            damaged: Vec::new(),
            touched: Vec::new(),
        }
    };
    let one = || whole("one", FLEET);
    let chat = |slots| ready("chat-1", spec("chat", "a", "one", slots));
    let with = |worker: ObservedWorker, change: fn(&mut ObservedWorker)| {
        let mut worker = worker;
        change(&mut worker);
        worker
    };
    let damaged = ObservedModel {
        damaged: vec!["config.json".parse().unwrap()],
        ..one()
    };
    let foreign = with(chat(1), |worker| {
        worker.record.spec.fleet = Some(OTHER.parse().unwrap());
    });
    let by_hand = with(chat(1), |worker| {
        (worker.record.spec.fleet, worker.record.spec.address) = (None, None);
    });
    let dead = with(chat(1), |worker| {
        (worker.alive, worker.answers) = (false, false);
    });
    let hung = with(chat(1), |worker| worker.answers = false);
    let starting = with(chat(1), |worker| {
        worker.record.state = WorkerState::Starting;
    });
    let mut scenes = vec![
        ("fresh-pool", pools(vec![("a", bare())])),
        (
            "nothing-to-do",
            pools(vec![("a", known(64 * GIB, vec![one()], vec![chat(1)]))]),
        ),
        (
            "no-answer",
            pools(vec![
                ("a", known(64 * GIB, vec![one()], vec![chat(1)])),
                (
                    "b",
                    unknown(true, "connect to host b port 22: Connection refused"),
                ),
            ]),
        ),
        (
            "corrupt-catalog",
            pools(vec![("a", unknown(false, "catalog.json does not parse"))]),
        ),
        ("broken-hive", pools(vec![("a", broken())])),
        ("no-build-for-a-mac", pools(vec![("a", mac())])),
        (
            "replace-start-first",
            pools(vec![("a", known(64 * GIB, vec![one()], vec![chat(2)]))]),
        ),
        (
            "replace-stop-first",
            pools(vec![("a", known(GIB, vec![one()], vec![chat(2)]))]),
        ),
        (
            "weights-kept-otherwise",
            pools(vec![("a", known(64 * GIB, vec![one()], vec![chat(1)]))]),
        ),
        (
            "died",
            pools(vec![("a", known(64 * GIB, vec![one()], vec![dead]))]),
        ),
        (
            "does-not-answer",
            pools(vec![("a", known(64 * GIB, vec![one()], vec![hung]))]),
        ),
        (
            "still-starting",
            pools(vec![("a", known(64 * GIB, vec![one()], vec![starting]))]),
        ),
        (
            "damaged-file",
            pools(vec![("a", known(64 * GIB, vec![damaged], vec![chat(1)]))]),
        ),
        (
            "removed-and-pruned",
            pools(vec![(
                "a",
                known(
                    64 * GIB,
                    vec![one(), whole("two", FLEET)],
                    vec![chat(1), ready("code-1", spec("code", "a", "two", 1))],
                ),
            )]),
        ),
        (
            "renamed",
            pools(vec![(
                "a",
                known(
                    64 * GIB,
                    vec![one()],
                    vec![ready("old-1", spec("old", "a", "one", 1))],
                ),
            )]),
        ),
        (
            "other-owners",
            pools(vec![(
                "a",
                known(
                    64 * GIB,
                    vec![one(), whole("two", OTHER)],
                    vec![foreign, by_hand],
                ),
            )]),
        ),
        (
            "model-name-taken",
            pools(vec![(
                "a",
                known(
                    64 * GIB,
                    vec![ObservedModel {
                        entry: CatalogEntry {
                            digest: content("two"),
                            ..whole("one", OTHER).entry
                        },
                        damaged: Vec::new(),
                        touched: Vec::new(),
                    }],
                    vec![],
                ),
            )]),
        ),
        (
            "device-missing",
            pools(vec![("a", known(64 * GIB, vec![], vec![]))]),
        ),
        (
            "model-folder-gone",
            pools(vec![("a", known(64 * GIB, vec![], vec![]))]),
        ),
        (
            "matrix",
            pools(vec![
                ("a", bare()),
                ("b", known(64 * GIB, vec![one()], vec![])),
            ]),
        ),
    ];
    scenes.extend(supplies::scenes());
    scenes.extend(fits::scenes());
    scenes.extend(outages::scenes());
    scenes.extend(orchestrators::scenes());
    scenes
}
