//! Plans of a part of the fleet: in the committed scenarios, and by the laws.

use std::collections::BTreeSet;
use std::path::Path;

use pool_core::address::WorkerAddress;
use pool_core::name::{ModelId, PoolName};
use proptest::prelude::*;
use proptest::sample::subsequence;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reconciler::desired::Desired;
use reconciler::diff::diff;
use reconciler::observed::{Observed, PoolState};
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
    partly(
        &desired,
        &observed(case),
        targets,
        Options { prune_models: true },
    )
}

fn observed(case: &str) -> Observed {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let text = std::fs::read_to_string(folder.join(case).join("observed.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The part of another fleet for `--worker chat`, on pool `a` of a scenario and an empty pool `b`.
fn beside_an_empty_pool(case: &str, fleet: &str) -> Plan {
    let mut pools = observed("outage-averted-by-a-move");
    pools.pools.extend(observed(case).pools);
    let desired = simulation::resolved(&format!(
        "version: 1\nfleet: home\npools:\n  a: {{ connect: local, devices: [cpu], advertise: 10.0.0.1 }}\n\
         \x20 b: {{ connect: ssh://b, devices: [cpu], advertise: 10.0.0.2 }}\n\
         models:\n  one: {{ source: ./models/one }}\n  three: {{ source: ./models/three }}\n{fleet}"
    ));
    partly(
        &desired,
        &pools,
        &of(&[], &[], &["chat"]),
        Options::default(),
    )
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
fn a_worker_comes_with_the_link_of_its_pool() {
    let plan = beside_an_empty_pool(
        "orchestrator-nothing-to-do",
        "orchestrator: { pool: a, listen: 0.0.0.0:8080 }\nworkers:\n  chat: { model: one, on: [b/cpu] }\n",
    );
    assert_eq!(
        lines(&plan),
        [
            "b: link",
            "b: register one",
            "b: bring one #1",
            "b: spawn chat/b/cpu/0 #2",
            "a: stop chat/a/cpu/0 (chat-1) #3",
        ]
    );
    assert_eq!(plan.actions[3].after, [plan.actions[0].id]);
}

#[test]
fn what_stops_to_make_room_comes_with_its_successor() {
    let plan = beside_an_empty_pool(
        "fit-after-stopping",
        "workers:\n  chat: { model: one, on: [a/cpu] }\n  old: { model: three, on: [b/cpu] }\n",
    );
    let moved = [
        "a: stop old/a/cpu/0 (old-1)",
        "a: spawn chat/a/cpu/0 #0",
        "b: register three",
        "b: bring three #2",
        "b: spawn old/b/cpu/0 #3",
    ];
    assert_eq!(lines(&plan), moved);
    // Also where another worker, which is left out, took that room.
    let plan = beside_an_empty_pool(
        "fit-after-stopping",
        "workers:\n  aaa: { model: one, on: [a/cpu] }\n  chat: { model: one, on: [a/cpu] }\n  old: { model: three, on: [b/cpu] }\n",
    );
    assert_eq!(lines(&plan), moved);
    let left = plan.left_out.unwrap();
    assert_eq!((left.totals.spawn, left.blocked), (1, 0));
}

#[test]
fn what_is_blocked_by_what_is_left_out_is_done() {
    let targets = of(&[], &["two"], &[]);
    let whole = scenario("no-disk", &Targets::default());
    assert!(!whole.blocked.is_empty());
    let plan = scenario("no-disk", &targets);
    assert_eq!(
        lines(&plan),
        [
            "a: register two",
            "a: bring two #0",
            "a: spawn all.two/a/cpu/0 #1"
        ]
    );
    assert_eq!(plan.blocked, []);
    let left = plan.left_out.unwrap();
    assert_eq!((left.blocked, left.totals.spawn), (0, 1));
    // What is still blocked is told.
    let plan = scenario("fit-never", &of(&[], &[], &["chat"]));
    assert_eq!((plan.actions.len(), plan.blocked.len()), (0, 1));
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
    // What is asked for may run there, whatever should.
    let answers = |workers| {
        let (_, unknown, _, left) =
            is_told("orchestrator-moves-to-no-answer", of(&[], &[], &[workers]));
        (unknown, left)
    };
    assert_eq!([answers("chat"), answers("*/b/*/*")], [(1, 0); 2]);
    assert_eq!(answers("*/a/*/*"), (0, 1));
}

fn links(plan: &Plan) -> impl Iterator<Item = &Action> {
    let actions = plan.actions.iter();
    actions.filter(|action| matches!(action.kind, ActionKind::Link { .. }))
}

/// The model of the undeclared worker that an action stops.
fn stopped<'a>(action: &Action, observed: &'a Observed) -> Option<&'a ModelId> {
    let (
        ActionKind::Stop {
            worker,
            for_spawn: false,
            ..
        },
        Some(PoolState::Known(seen)),
    ) = (&action.kind, observed.pools.get(&action.pool))
    else {
        return None;
    };
    let mut workers = seen.workers.iter().map(|worker| &worker.record);
    let record = workers.find(|record| record.id == *worker)?;
    Some(&record.spec.model)
}

/// Whether an action is of a worker or a model that is blocked in the whole.
fn is_for_blocked(action: &Action, whole: &Plan, desired: &Desired) -> bool {
    let is_blocked = |what: String| {
        let mut blocked = whole.blocked.iter();
        blocked.any(|blocked| blocked.pool == action.pool && blocked.what == what)
    };
    let worker = |address: &WorkerAddress| is_blocked(format!("worker {address}"));
    match &action.kind {
        ActionKind::Spawn { spec, .. } => spec.address.as_ref().is_some_and(worker),
        ActionKind::Stop {
            address,
            for_spawn: true,
            ..
        } => address.as_ref().is_some_and(worker),
        ActionKind::Register { model, .. } | ActionKind::Fetch { model, .. } => {
            let workers = &desired.pools[&action.pool].workers;
            let mut users = workers.iter().filter(|(_, user)| user.model == *model);
            is_blocked(format!("model {model}")) || users.any(|(address, _)| worker(address))
        }
        _ => false,
    }
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
            let is_known = all.contains(&(pool, what)) || is_for_blocked(action, &whole, &desired);
            prop_assert!(is_known, "{action:?} is not of {whole:#?}");
            let is_ready = |plan: &Plan| {
                let install = |action: &&Action| matches!(action.kind, ActionKind::Install { .. });
                let mut installs = plan.actions.iter().filter(install);
                let is_linked = links(plan).any(|link| link.pool == action.pool);
                (is_linked, installs.any(|install| install.pool == action.pool))
            };
            let is_spawn = matches!(action.kind, ActionKind::Spawn { .. });
            prop_assert!(!is_spawn || is_ready(&part) == is_ready(&whole), "{action:?} of {part:#?}");
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
        needed.extend(links(&part).map(|link| link.id));
        // The other half of a replacement whose stop frees memory or takes away what is asked for.
        for action in &part.actions {
            if let ActionKind::Spawn { replaces: Some(_), .. } = &action.kind {
                needed.insert(action.id);
            }
            if let ActionKind::Stop { for_spawn: true, .. } = &action.kind {
                needed.insert(action.id);
            }
            // What takes over from one that makes room.
            if let ActionKind::Spawn { spec, .. } = &action.kind
                && part.actions.iter().any(|stop| stopped(stop, &observed) == Some(&spec.model))
            {
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
