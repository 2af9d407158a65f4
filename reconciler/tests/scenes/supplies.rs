//! Pools that have, lack and share contents.

use pool_core::observation::{ObservedModel, PoolObservation};
use pool_core::supply::Rates;
use reconciler::observed::{Bare, Observed, PoolState};

use crate::simulation::{FLEET, GIB, build, entry, fresh, linux, manifest};

/// A pool with these models, all whole.
fn pool(models: &[&str]) -> PoolObservation {
    let bare = Bare {
        platform: linux(),
        installed: None,
        broken: None,
    };
    let PoolState::Known(mut seen) = fresh(&bare, build(1)) else {
        unreachable!("a fresh pool is known");
    };
    let whole = |model: &&str| {
        let owner = Some(FLEET.parse().unwrap());
        let mut entry = entry(&model.parse().unwrap(), &manifest(model, 0), owner);
        entry.downloaded = true;
        ObservedModel {
            entry,
            damaged: Vec::new(),
            touched: Vec::new(),
        }
    };
    seen.models = models.iter().map(whole).collect();
    *seen
}

pub fn scenes() -> Vec<(&'static str, Observed)> {
    let pools = |pools: Vec<(&str, PoolObservation)>| Observed {
        pools: pools
            .into_iter()
            .map(|(name, seen)| (name.parse().unwrap(), PoolState::Known(Box::new(seen))))
            .collect(),
    };
    let measured = PoolObservation {
        rates: Rates {
            hub: Some(10_000_000),
            pools: Some(100_000_000),
            operator: None,
        },
        ..pool(&[])
    };
    let mut damaged = pool(&["sharded"]);
    damaged.models[0].damaged = vec!["model-00002-of-00003.safetensors".parse().unwrap()];
    let mut touched = pool(&["one"]);
    touched.models[0].touched = ["config.json", "model.safetensors"]
        .map(|path| path.parse().unwrap())
        .into();
    let full = PoolObservation {
        disk_free_bytes: Some(3 * GIB / 2),
        ..pool(&[])
    };
    vec![
        (
            "hub-model-on-three-pools",
            pools(vec![
                ("a", measured.clone()),
                ("b", measured),
                ("c", pool(&[])),
            ]),
        ),
        (
            "damaged-shard",
            pools(vec![("a", damaged.clone()), ("b", pool(&["sharded"]))]),
        ),
        ("damaged-shard-alone", pools(vec![("a", damaged)])),
        ("touched-file", pools(vec![("a", touched)])),
        ("no-disk", pools(vec![("a", full)])),
        ("shared-file", pools(vec![("a", pool(&[]))])),
        (
            "moved-and-pruned",
            pools(vec![("a", pool(&["one"])), ("b", pool(&[]))]),
        ),
    ]
}
