//! The laws of the orchestrator and its links, over simulated fleets.

use std::collections::BTreeSet;

use pool_core::name::PoolName;
use proptest::prelude::*;
use reconciler::desired::DesiredLink;
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::ActionKind;
use reconciler::planner::Options;

use crate::laws::{cases, planned};
use crate::simulation::{self, FLEET, Simulation};

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn an_orchestrator_stops_only_where_none_is_wanted_or_its_successor_is_ready(
        desired in simulation::desired(),
        observed in simulation::observed(),
        failures in prop::collection::vec(any::<bool>(), 64),
    ) {
        let ours = |observed: &Observed| -> BTreeSet<PoolName> {
            let is_up = |state: &PoolState| matches!(state, PoolState::Known(seen)
                if seen.orchestrators.iter().any(|seen| seen.is_serving() && seen.record.spec.fleet.as_str() == FLEET));
            let up = observed.pools.iter().filter(|(_, state)| is_up(state));
            up.map(|(pool, _)| pool.clone()).collect()
        };
        let mut world = Simulation::new(observed);
        let before = ours(&world.observed);
        let plan = planned(&desired, &world.observed, Options::default());
        world.apply(&plan, |action| !failures[action.id.0 as usize % 64]);
        let stops = plan.actions.iter().any(|action| action.kind == ActionKind::StopOrchestrator);
        if desired.home.is_some() && !before.is_empty() && stops {
            prop_assert!(!ours(&world.observed).is_empty(), "{plan:#?}");
        }
    }

    #[test]
    fn after_an_apply_all_of_the_fleet_have_one_token_and_know_one_orchestrator(
        desired in simulation::desired(),
        observed in simulation::observed(),
    ) {
        let mut world = Simulation::new(observed);
        let plan = planned(&desired, &world.observed, Options::default());
        world.apply(&plan, |_| true);
        let Some(home) = &desired.home else { return Ok(()) };
        let is_known = |pool: &PoolName| matches!(world.observed.pools[pool], PoolState::Known(_));
        if !is_known(home) { return Ok(()) }
        let mut tokens = BTreeSet::new();
        for (name, pool) in &desired.pools {
            let PoolState::Known(seen) = &world.observed.pools[name] else { continue };
            let DesiredLink::Fleet(url) = &pool.link else { continue };
            let link = seen.links.values().next().unwrap();
            prop_assert_eq!(&link.orchestrator, url);
            tokens.insert(link.token);
        }
        prop_assert_eq!(tokens.len(), 1);
    }
}
