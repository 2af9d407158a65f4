//! The laws of where contents come from, over simulated fleets.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use proptest::prelude::*;
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::{Action, ActionKind, Bill, FetchFile, Plan, Supply};
use reconciler::planner::Options;

use crate::laws::{cases, options, planned};
use crate::simulation::{self, Simulation};

/// Every file that the plan fetches.
fn fetched(plan: &Plan) -> impl Iterator<Item = (&Action, &FetchFile)> {
    plan.actions.iter().flat_map(|action| match &action.kind {
        ActionKind::Fetch { files, .. } => files.iter().map(|file| (action, file)).collect(),
        _ => Vec::new(),
    })
}

/// The contents that a pool said are whole.
fn whole(observed: &Observed, pool: &PoolName) -> BTreeSet<Sha256> {
    let Some(PoolState::Known(seen)) = observed.pools.get(pool) else {
        return BTreeSet::new();
    };
    let files = seen.models.iter().flat_map(|model| {
        let spoilt = |path| model.damaged.contains(path) || model.touched.contains(path);
        let files = model.entry.files.iter();
        files.filter(move |file| !spoilt(&file.file.path))
    });
    files.map(|file| file.file.sha256).collect()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_hub_gives_a_content_once(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
    ) {
        let plan = planned(&desired, &observed, options);
        let mut given = BTreeSet::new();
        for (action, file) in fetched(&plan) {
            if file.from == Supply::Hub {
                prop_assert!(given.insert(file.file.sha256), "{} twice, again in {action:?}", file.file.path);
                let holder = observed.pools.keys().find(|pool| whole(&observed, pool).contains(&file.file.sha256));
                prop_assert_eq!(holder, None, "{} is on a pool", &file.file.path);
            }
        }
    }

    #[test]
    fn a_pool_that_gives_a_content_has_it_or_gets_it_before(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
    ) {
        let plan = planned(&desired, &observed, options);
        for (action, file) in fetched(&plan) {
            let Supply::Pool(giver) = &file.from else { continue };
            prop_assert!(giver != &action.pool);
            let gets = |before: &&Action| match &before.kind {
                ActionKind::Fetch { files, .. } => {
                    before.pool == *giver && files.iter().any(|got| got.file.sha256 == file.file.sha256)
                }
                _ => false,
            };
            let mut befores = action.after.iter().map(|id| plan.action(*id).unwrap());
            let has = whole(&observed, giver).contains(&file.file.sha256);
            prop_assert!(has || befores.any(|before| gets(&before)), "{giver} has no {} for {action:?}", file.file.path);
        }
    }

    #[test]
    fn nothing_is_brought_that_is_there_and_nothing_twice(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
    ) {
        let plan = planned(&desired, &observed, options);
        let mut brought = BTreeSet::new();
        for (action, file) in fetched(&plan) {
            prop_assert!(!whole(&observed, &action.pool).contains(&file.file.sha256), "{action:?}");
            prop_assert!(brought.insert((&action.pool, file.file.sha256)), "{} twice in {action:?}", file.file.path);
        }
    }

    #[test]
    fn an_apply_moves_what_the_bills_say_and_fits_the_disks(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
    ) {
        let plan = planned(&desired, &observed, options);
        for (pool, bill) in &plan.bills {
            if let Some(PoolState::Known(seen)) = observed.pools.get(pool) {
                prop_assert_eq!(bill.disk_free, seen.disk_free_bytes);
                prop_assert!(seen.disk_free_bytes.is_none_or(|free| bill.peak_disk <= free));
            }
        }
        let mut world = Simulation::new(observed);
        world.apply(&plan, |_| true);
        let moved = |bills: &BTreeMap<PoolName, Bill>| -> Vec<_> {
            let bytes = |(pool, bill): (&PoolName, &Bill)| {
                (pool.clone(), bill.from_hub, bill.from_pools, bill.from_operator)
            };
            bills.iter().map(bytes).collect()
        };
        prop_assert_eq!(moved(&world.brought), moved(&plan.bills));
        let totals = plan.totals();
        let sum = |bytes: fn(&Bill) -> u64| plan.bills.values().map(bytes).sum::<u64>();
        prop_assert_eq!(totals.download_bytes, sum(|bill| bill.from_hub));
        prop_assert_eq!(totals.copy_bytes, sum(|bill| bill.from_pools + bill.from_operator));
    }

    #[test]
    fn what_is_removed_is_removed_after_it_was_given(
        desired in simulation::desired(),
        observed in simulation::observed(),
    ) {
        let plan = planned(&desired, &observed, Options { prune_models: true });
        for remove in &plan.actions {
            let ActionKind::Unregister { .. } = &remove.kind else { continue };
            let from = Supply::Pool(remove.pool.clone());
            for (fetch, file) in fetched(&plan) {
                prop_assert!(file.from != from || remove.after.contains(&fetch.id), "{fetch:?} before {remove:?}");
            }
        }
    }
}
