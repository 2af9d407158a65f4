//! The law of outages, over simulated fleets: whatever a plan does not call an outage is served throughout.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::name::ModelId;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reconciler::desired::Desired;
use reconciler::observed::Observed;
use reconciler::plan::{Action, ActionId, ActionKind, Plan};
use reconciler::planner::Options;

use crate::laws::{cases, planned};
use crate::simulation::{self, MODELS, Simulation};

fn serving(world: &Simulation) -> BTreeMap<ModelId, usize> {
    let models = MODELS.map(|model| model.parse::<ModelId>().unwrap());
    let serving = models.map(|model| (world.serving(&model), model));
    serving
        .into_iter()
        .map(|(count, model)| (model, count))
        .collect()
}

/// Brings nobody up: what a hurry does last.
fn is_spawn(action: &Action) -> bool {
    matches!(action.kind, ActionKind::Spawn { .. })
}

/// Fleets at random, and such that serve already.
pub fn fleets() -> impl Strategy<Value = (Desired, Observed)> {
    simulation::desired().prop_flat_map(|desired| {
        let served = simulation::served(&desired);
        (Just(desired), prop_oneof![simulation::observed(), served])
    })
}

/// Carries a plan out in an order by these choices, and looks at what is served after each action.
pub fn served_throughout(
    plan: &Plan,
    desired: &Desired,
    observed: Observed,
    choices: &[Index],
    spawns_last: bool,
) -> Result<(), TestCaseError> {
    let mut world = Simulation::new(observed);
    let before = serving(&world);
    let out: BTreeSet<&ModelId> = plan.outages.iter().map(|outage| &outage.model).collect();
    let declared = |model: &ModelId| {
        let mut pools = desired.pools.values();
        pools.any(|pool| pool.models.contains_key(model))
    };
    let mut left: Vec<&Action> = plan.actions.iter().collect();
    let mut done: BTreeSet<ActionId> = BTreeSet::new();
    let mut choices = choices.iter().cycle();
    while !left.is_empty() {
        let possible = |action: &&&Action| {
            let mut before = action.needs.iter().chain(&action.after);
            before.all(|id| done.contains(id))
        };
        let possible: Vec<&Action> = left.iter().filter(possible).copied().collect();
        let others = possible.iter().filter(|action| !is_spawn(action)).count();
        let first = |action: &&Action| !(spawns_last && others > 0 && is_spawn(action));
        let possible: Vec<&Action> = possible.into_iter().filter(first).collect();
        let next = choices.next().unwrap().get(&possible);
        world.apply_one(plan, next, &|_| true);
        done.insert(next.id);
        left.retain(|action| action.id != next.id);
        for (model, count) in serving(&world) {
            let must = before[&model] > 0 && declared(&model) && !out.contains(&model);
            prop_assert!(
                count > 0 || !must,
                "nobody serves {model} after {next:?} of {plan:#?}"
            );
        }
    }
    Ok(())
}

#[test]
fn the_fleets_have_outages_and_replacements_that_take_turns() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..1000 {
        let (desired, observed) = fleets().new_tree(&mut runner).unwrap().current();
        let plan = planned(&desired, &observed, Options::default());
        let mut count = |what, number| *seen.entry(what).or_default() += number;
        count("outage", plan.outages.len());
        let known = plan.outages.iter().filter(|outage| outage.ms.is_some());
        count("outage of a known length", known.count());
        for action in &plan.actions {
            let mut needs = action.needs.iter().filter_map(|id| plan.action(*id));
            let elsewhere = needs.any(|before| before.pool != action.pool);
            count("in turn, over pools", usize::from(elsewhere));
            if let ActionKind::Spawn { restore, .. } = &action.kind {
                count(
                    "with the old one kept in mind",
                    usize::from(restore.is_some()),
                );
            }
        }
        let down = plan
            .warnings
            .iter()
            .filter(|warning| warning.contains(" is down while "));
        count("down while others serve", down.count());
    }
    assert_eq!(seen.len(), 5);
    assert!(seen.values().all(|count| *count > 20), "{seen:?}");
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_model_without_an_outage_is_served_in_whatever_order_the_plan_is_carried_out(
        (desired, observed) in fleets(),
        choices in prop::collection::vec(any::<Index>(), 1..64),
        spawns_last in any::<bool>(),
    ) {
        let plan = planned(&desired, &observed, Options::default());
        served_throughout(&plan, &desired, observed, &choices, spawns_last)?;
    }

    #[test]
    fn what_is_called_an_outage_is_one_in_some_order(
        (desired, observed) in fleets(),
    ) {
        let plan = planned(&desired, &observed, Options::default());
        for outage in &plan.outages {
            let mut world = Simulation::new(observed.clone());
            prop_assert!(world.serving(&outage.model) > 0);
            // Whatever starts the model waits, with all that waits for it.
            let mut waits: BTreeSet<ActionId> = BTreeSet::new();
            for action in &plan.actions {
                let starts = matches!(&action.kind, ActionKind::Spawn { spec, .. } if spec.model == outage.model);
                if starts || action.needs.iter().chain(&action.after).any(|id| waits.contains(id)) {
                    waits.insert(action.id);
                } else {
                    world.apply_one(&plan, action, &|_| true);
                }
            }
            prop_assert_eq!(world.serving(&outage.model), 0, "{:?} of {:#?}", outage, plan);
        }
    }
}
