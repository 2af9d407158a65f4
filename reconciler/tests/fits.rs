//! The law of memory, over simulated fleets: the simulation refuses a worker that does not fit its device.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reconciler::plan::{Action, ActionId, ActionKind};
use reconciler::planner::Options;

use crate::laws::{cases, planned};
use crate::simulation::{self, Simulation};

/// Puts off what frees memory.
fn is_stop(action: &Action) -> bool {
    matches!(action.kind, ActionKind::Stop { .. })
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn workers_fit_their_device_in_whatever_order_the_plan_is_carried_out(
        desired in simulation::desired(),
        observed in simulation::observed(),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 1..64),
        stops_last in any::<bool>(),
    ) {
        let plan = planned(&desired, &observed, Options::default());
        let mut world = Simulation::new(observed);
        let mut left: Vec<&Action> = plan.actions.iter().collect();
        let mut done: BTreeSet<ActionId> = BTreeSet::new();
        let mut choices = choices.iter().cycle();
        while !left.is_empty() {
            let possible = |action: &&&Action| {
                action.needs.iter().chain(&action.after).all(|id| done.contains(id))
            };
            let possible: Vec<&Action> = left.iter().filter(possible).copied().collect();
            let others = possible.iter().filter(|action| !is_stop(action)).count();
            let first = |action: &&Action| !(stops_last && others > 0 && is_stop(action));
            let possible: Vec<&Action> = possible.into_iter().filter(first).collect();
            let next = choices.next().unwrap().get(&possible);
            world.apply_one(&plan, next, &|_| true);
            done.insert(next.id);
            left.retain(|action| action.id != next.id);
        }
    }

    #[test]
    fn nothing_is_stopped_for_a_worker_that_is_blocked(
        desired in simulation::desired(),
        observed in simulation::observed(),
    ) {
        let plan = planned(&desired, &observed, Options::default());
        for action in &plan.actions {
            let ActionKind::Stop { address: Some(address), for_spawn: true, .. } = &action.kind else { continue };
            let what = format!("worker {address}");
            let blocked = plan.blocked.iter().find(|blocked| blocked.what == what);
            prop_assert_eq!(blocked, None, "{:?}", action);
        }
    }
}
