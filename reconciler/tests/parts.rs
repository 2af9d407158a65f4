//! Plans of a part of the fleet: in the committed scenarios, and by the laws.

use std::collections::BTreeSet;
use std::path::Path;

use pool_core::name::PoolName;
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reconciler::desired::Desired;
use reconciler::diff::diff;
use reconciler::observed::Observed;
use reconciler::plan::{Action, ActionKind, Plan};
use reconciler::planner::{Options, part};
use reconciler::sound::check;
use reconciler::targets::Targets;

use crate::laws::{cases, options, planned};
use crate::outages::{fleets, served_throughout};
use crate::simulation::{self, MODELS, POOLS, Simulation};

fn globs(globs: &[&str]) -> Vec<String> {
    globs.iter().map(ToString::to_string).collect()
}

fn of(pools: &[&str], models: &[&str], workers: &[&str]) -> Targets {
    Targets {
        pools: globs(pools),
        models: globs(models),
        workers: globs(workers),
    }
}

fn partly(desired: &Desired, observed: &Observed, targets: &Targets, options: Options) -> Plan {
    part(&diff(desired, observed), desired, targets, options)
}

/// What an action does, wherever it stands and wherever its bytes come from.
fn does(action: &Action) -> (PoolName, String) {
    let what = match &action.kind {
        ActionKind::Fetch { model, .. } => format!("bring {model}"),
        kind => kind.to_string(),
    };
    (action.pool.clone(), what)
}

/// The part of a scenario's plan.
fn scenario(case: &str, targets: &Targets) -> Plan {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scenarios")
        .join(case);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let desired = simulation::resolved(&read("fleet.yaml"));
    let observed = serde_json::from_str(&read("observed.json")).unwrap();
    partly(&desired, &observed, targets, Options { prune_models: true })
}

/// `POOL: ACTION`, with what it needs.
fn lines(plan: &Plan) -> Vec<String> {
    let actions = plan.actions.iter().map(|action| {
        let (pool, what) = does(action);
        let needs: Vec<String> = action.needs.iter().map(ToString::to_string).collect();
        format!("{pool}: {what} {}", needs.join(" "))
            .trim_end()
            .to_owned()
    });
    actions.collect()
}

#[test]
fn a_pool_gets_from_the_hub_what_a_pool_that_is_left_out_would_have_given() {
    let plan = scenario("hub-model-on-three-pools", &of(&["b", "c"], &[], &[]));
    assert_eq!(
        lines(&plan),
        [
            "b: register one",
            "b: bring one #0",
            "b: spawn chat/b/cpu/0 #1",
            "c: register one",
            "c: bring one #3",
            "c: spawn chat/c/cpu/0 #4",
        ]
    );
    let bills: Vec<_> = plan
        .bills
        .iter()
        .map(|(pool, bill)| (pool.as_str(), bill.from_hub, bill.from_pools))
        .collect();
    assert_eq!(bills, [("b", 1_073_751_324, 0), ("c", 0, 1_073_751_324)]);
    let left = plan.left_out.unwrap();
    assert_eq!((left.totals.spawn, left.totals.download), (1, 1));
}

#[test]
fn a_replacement_does_not_wait_for_the_turn_of_one_that_is_left_out() {
    let plan = scenario("outage-averted-by-turns", &of(&["b"], &[], &[]));
    assert_eq!(
        lines(&plan),
        [
            "b: stop chat/b/cpu/0 (chat-1)",
            "b: replace chat/b/cpu/0 #0"
        ]
    );
    assert_eq!(plan.outages, []);
    assert_eq!(
        plan.warnings,
        ["chat/b/cpu/0 is down while it is replaced: there is no memory for both"]
    );
    assert_eq!(plan.left_out.unwrap().totals.replace, 1);
}

#[test]
fn what_is_asked_for_comes_with_all_that_it_needs() {
    // A stop on one pool waits for its successor on another.
    let plan = scenario("outage-averted-by-a-move", &of(&["a"], &[], &["chat"]));
    assert_eq!(
        lines(&plan),
        [
            "b: register one",
            "b: bring one #0",
            "b: spawn chat/b/cpu/0 #1",
            "a: stop chat/a/cpu/0 (chat-1) #2",
        ]
    );
    assert_eq!(plan.left_out.unwrap().totals.remove, 1);
    // Memory comes from a replacement, of which both halves stay.
    let plan = scenario("fit-once-another-shrank", &of(&[], &[], &["chat"]));
    assert_eq!(
        lines(&plan),
        [
            "a: stop code/a/cpu/0 (code-1)",
            "a: replace code/a/cpu/0 #0",
            "a: spawn chat/a/cpu/0 #0",
        ]
    );
    // A model goes with the worker that serves it, and without the rest.
    let plan = scenario("fit-once-another-shrank", &of(&[], &["one"], &[]));
    assert_eq!(lines(&plan), ["a: remove one"]);
    let plan = scenario("orchestrator-moves", &of(&["a"], &[], &[]));
    assert_eq!(plan.actions.len(), 6);
    assert_eq!(
        plan.left_out.unwrap().totals,
        reconciler::plan::Totals::default()
    );
    let plan = scenario("orchestrator-moves", &of(&["b"], &[], &[]));
    assert_eq!(lines(&plan), ["b: link", "b: start orchestrator #0"]);
}

#[test]
fn what_is_blocked_or_not_known_counts_where_it_is_asked_for() {
    let is_told = |case: &str, targets: Targets| {
        let plan = scenario(case, &targets);
        let left = plan.left_out.unwrap();
        (
            plan.blocked.len(),
            plan.unknown.len(),
            left.blocked,
            left.unknown,
        )
    };
    assert_eq!(is_told("fit-never", of(&[], &[], &["*"])), (1, 0, 0, 0));
    let (blocked, _, left, _) = is_told("fit-never", of(&["nowhere"], &[], &[]));
    assert!(blocked == 0 && left > 0);
    let (_, unknown, _, left) = is_told("no-answer", of(&["nowhere"], &[], &[]));
    assert!(unknown == 0 && left > 0);
}

fn targets() -> impl Strategy<Value = Targets> {
    let workers = ["chat", "code", "*/b/*/*", "c*/a/cpu/0"];
    let some = (
        subsequence(&POOLS[..], 0..=2),
        subsequence(&MODELS[..], 0..=2),
        subsequence(workers.to_vec(), 0..=2),
    );
    some.prop_map(|(pools, models, workers)| of(&pools, &models, &workers))
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_part_is_a_sound_plan_of_actions_of_the_whole(
        (desired, observed) in fleets(),
        targets in targets(),
        options in options(),
    ) {
        let whole = planned(&desired, &observed, options);
        let part = partly(&desired, &observed, &targets, options);
        prop_assert_eq!(check(&part), Ok(()));
        let all: BTreeSet<_> = whole.actions.iter().map(does).collect();
        for (position, action) in part.actions.iter().enumerate() {
            prop_assert_eq!(action.id.0 as usize, position);
            prop_assert!(action.needs.iter().chain(&action.after).all(|before| before < &action.id));
            let (pool, what) = does(action);
            // One that need not stop first any more is called the same.
            prop_assert!(all.contains(&(pool, what)), "{action:?} is not of {whole:#?}");
        }
        for blocked in &part.blocked {
            let is_there = whole.blocked.iter().any(|known| (&known.pool, &known.what) == (&blocked.pool, &blocked.what));
            prop_assert!(is_there, "{blocked:?}");
        }
        prop_assert!(part.unknown.iter().all(|unknown| whole.unknown.contains(unknown)));
        prop_assert_eq!(part.left_out.is_none(), targets.is_all());
        if targets.is_all() {
            prop_assert_eq!(part, whole);
        }
    }

    #[test]
    fn whatever_is_not_asked_for_is_needed_by_something_that_is(
        (desired, observed) in fleets(),
        pools in subsequence(&POOLS[..], 1..=2),
        options in options(),
    ) {
        let targets = of(&pools, &[], &[]);
        let part = partly(&desired, &observed, &targets, options);
        let mut needed: BTreeSet<_> = part.actions.iter().flat_map(|action| action.needs.clone()).collect();
        // The other half of a replacement whose stop frees memory or takes away what is asked for.
        for action in &part.actions {
            if let ActionKind::Spawn { replaces: Some(_), .. } = &action.kind {
                needed.insert(action.id);
            }
            if let ActionKind::Stop { for_spawn: true, .. } = &action.kind {
                needed.insert(action.id);
            }
        }
        for action in &part.actions {
            let is_asked_for = pools.contains(&action.pool.as_str());
            prop_assert!(is_asked_for || needed.contains(&action.id), "{action:?} of {part:#?}");
        }
        // And all that is done on the pools is asked for.
        let whole = planned(&desired, &observed, options);
        let there: BTreeSet<_> = part.actions.iter().map(does).collect();
        for action in whole.actions.iter().filter(|action| pools.contains(&action.pool.as_str())) {
            prop_assert!(there.contains(&does(action)), "{action:?} is not of {part:#?}");
        }
    }

    #[test]
    fn a_part_can_be_carried_out_and_the_rest_after_it(
        (desired, observed) in fleets(),
        targets in targets(),
        options in options(),
    ) {
        let mut world = Simulation::new(observed);
        let part = partly(&desired, &world.observed, &targets, options);
        prop_assert_eq!(world.apply(&part, |_| true), BTreeSet::new());
        for _ in 0..3 {
            let plan = planned(&desired, &world.observed, options);
            prop_assert_eq!(world.apply(&plan, |_| true), BTreeSet::new());
        }
        let rest = planned(&desired, &world.observed, options);
        prop_assert_eq!(&rest.actions, &vec![]);
        let again = partly(&desired, &world.observed, &targets, options);
        prop_assert_eq!(&again.actions, &vec![]);
    }

    #[test]
    fn a_model_without_an_outage_is_served_throughout_a_part(
        (desired, observed) in fleets(),
        targets in targets(),
        choices in prop::collection::vec(any::<prop::sample::Index>(), 1..64),
        spawns_last in any::<bool>(),
    ) {
        let part = partly(&desired, &observed, &targets, Options::default());
        served_throughout(&part, &desired, observed, &choices, spawns_last)?;
    }
}

#[test]
fn the_parts_leave_out_and_take_along_much() {
    let mut runner = TestRunner::deterministic();
    let (mut empty, mut smaller, mut elsewhere) = (0, 0, 0);
    for _ in 0..600 {
        let (desired, observed) = fleets().new_tree(&mut runner).unwrap().current();
        let pools = subsequence(&POOLS[..], 1..=1);
        let pools = pools.new_tree(&mut runner).unwrap().current();
        let part = partly(
            &desired,
            &observed,
            &of(&pools, &[], &[]),
            Options::default(),
        );
        let left = part.left_out.unwrap().totals;
        let is_whole = left == reconciler::plan::Totals::default();
        empty += usize::from(part.actions.is_empty());
        smaller += usize::from(!part.actions.is_empty() && !is_whole);
        let mut actions = part.actions.iter();
        elsewhere += usize::from(actions.any(|action| action.pool.as_str() != pools[0]));
    }
    assert!(
        empty > 20 && smaller > 100 && elsewhere > 20,
        "{empty} {smaller} {elsewhere}"
    );
}
