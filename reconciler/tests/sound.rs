//! Plans as they are made, and edited by hand.

use pool_core::facts::{About, Fact};
use pool_core::worker::WorkerSpec;
use proptest::prelude::*;
use reconciler::plan::{Action, ActionKind, Order};
use reconciler::sound::check;

use crate::laws::{cases, options, planned};
use crate::simulation;

/// Whether a pool without a hive would be told to do it, and so with nothing to rely on.
fn may_be_bare(action: &Action) -> bool {
    match &action.kind {
        ActionKind::Fetch { .. }
        | ActionKind::Register { .. }
        | ActionKind::Link { .. }
        | ActionKind::Configure { .. }
        | ActionKind::StartOrchestrator { .. } => true,
        ActionKind::Spawn { replaces, .. } => *replaces != Some(Order::StartFirst),
        _ => false,
    }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn every_plan_is_sound_until_it_is_edited(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
        which in any::<prop::sample::Index>(),
    ) {
        let plan = planned(&desired, &observed, options);
        prop_assert_eq!(check(&plan), Ok(()));
        prop_assume!(!plan.is_empty());
        let index = which.index(plan.actions.len());
        let edited = |edit: &dyn Fn(&mut Action)| {
            let mut plan = plan.clone();
            edit(&mut plan.actions[index]);
            check(&plan)
        };
        let strange = || Fact {
            about: About::Worker("stranger".parse().unwrap()),
            was: None,
        };
        prop_assert!(edited(&|action| action.facts.push(strange())).is_err());
        if !may_be_bare(&plan.actions[index]) {
            prop_assert!(edited(&|action| action.facts.clear()).is_err());
        }
        match &plan.actions[index].kind {
            ActionKind::Stop { .. } => {
                let flip = |action: &mut Action| {
                    if let ActionKind::Stop { for_spawn, .. } = &mut action.kind {
                        *for_spawn = true;
                    }
                    action.needs.clear();
                };
                let is_needed = plan.actions.iter().any(|action| action.needs.contains(&plan.actions[index].id)
                    && matches!(action.kind, ActionKind::Spawn { replaces: Some(_), .. }));
                prop_assert!(is_needed || edited(&flip).is_err());
            }
            ActionKind::Spawn { .. } => {
                let edited = |edit: fn(&mut WorkerSpec)| edited(&|action| {
                    if let ActionKind::Spawn { spec, .. } = &mut action.kind {
                        edit(spec);
                    }
                });
                prop_assert!(edited(|spec| spec.address = None).is_err());
                prop_assert!(edited(|spec| spec.fleet = None).is_err());
                let elsewhere = edited(|spec| spec.address = Some("other/a/cpu/0".parse().unwrap()));
                let relies_on_none = plan.actions[index].facts.is_empty() && plan.actions[index].needs.is_empty();
                prop_assert!(elsewhere.is_err() || relies_on_none || may_be_bare(&plan.actions[index]));
            }
            _ => {}
        }
    }
}
