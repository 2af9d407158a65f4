//! What stales a saved plan, over simulated fleets: what its actions relied on, and nothing else.

use std::collections::BTreeSet;

use pool_core::address::WorkerAddress;
use pool_core::device::Device;
use pool_core::digest::Sha256;
use pool_core::facts::About;
use pool_core::name::PoolName;
use pool_core::observation::{ObservedLink, ObservedModel, ObservedWorker, PoolObservation};
use pool_core::weights::Dtype;
use pool_core::worker::{Supervise, WorkerSpec, WorkerState};
use proptest::prelude::*;
use reconciler::observed::{Observed, PoolState};
use reconciler::plan::{ActionId, ActionKind, Fit, Plan};
use reconciler::planner::Options;
use reconciler::stale::{stale, unknown};

use crate::laws::{cases, options, planned};
use crate::simulation::{self, FLEET, entry, manifest, observed_worker};

fn known<'a>(observed: &'a mut Observed, pool: &PoolName) -> Option<&'a mut PoolObservation> {
    match observed.pools.get_mut(pool)? {
        PoolState::Known(seen) => Some(seen),
        _ => None,
    }
}

/// A worker that no plan knew of, of a model that none wants; its process is gone.
fn stranger(fleet: Option<&str>, address: Option<WorkerAddress>) -> ObservedWorker {
    let spec = WorkerSpec {
        address,
        fleet: fleet.map(|fleet| fleet.parse().unwrap()),
        model: "stranger".parse().unwrap(),
        model_digest: Sha256::of("stranger"),
        device: Device::Cpu,
        slots: 1,
        context: None,
        dtype: Dtype::Auto,
        quantize: None,
        advertise: None,
        supervise: Supervise::None,
        ephemeral: false,
    };
    observed_worker("stranger", spec, WorkerState::Failed, false, false)
}

/// Makes the thing another one. Returns the address of the worker that it was, if it was one.
fn spoil(observed: &mut Observed, pool: &PoolName, about: &About) -> Option<WorkerAddress> {
    let other = Some(Sha256::of("another build"));
    let seen = match observed.pools.get_mut(pool).unwrap() {
        PoolState::Known(seen) => seen,
        PoolState::Bare(bare) => {
            assert_eq!(*about, About::Programs);
            bare.installed = other;
            return None;
        }
        PoolState::Unknown(_) => panic!("a fact of an unknown pool"),
    };
    match about {
        About::Programs => seen.build = other,
        About::Model(id) => match seen.models.iter_mut().find(|model| model.entry.id == *id) {
            Some(model) => model.entry.protect = !model.entry.protect,
            None => seen.models.push(ObservedModel {
                entry: entry(id, &manifest("two", 7), None),
                damaged: Vec::new(),
                touched: Vec::new(),
            }),
        },
        About::Place(address) => {
            seen.workers
                .push(stranger(Some(FLEET), Some(address.clone())));
        }
        About::Worker(id) => {
            let mut workers = seen.workers.iter_mut();
            let record = &mut workers
                .find(|worker| worker.record.id == *id)
                .unwrap()
                .record;
            record.process.as_mut().unwrap().pid += 1000;
            return record.spec.address.clone();
        }
        About::Orchestrator => {
            let mut all = seen.orchestrators.iter_mut();
            let ours = all.find(|seen| seen.record.spec.fleet.as_str() == FLEET);
            if let Some(ours) = ours {
                ours.record.program += "-other";
            } else {
                let spec = simulation::orchestrator_spec(FLEET.parse().unwrap(), 7);
                let stranger = simulation::observed_orchestrator(spec, None);
                seen.orchestrators.push(stranger);
            }
        }
        About::Config(file) => {
            let of_fleet = seen.configs.entry(FLEET.parse().unwrap()).or_default();
            of_fleet.insert(*file, Sha256::of("a stranger's"));
        }
        About::Link => {
            let link = ObservedLink {
                orchestrator: None,
                token: Sha256::of("a stranger's"),
            };
            seen.links.insert(FLEET.parse().unwrap(), link);
        }
    }
    None
}

/// What is left of each device when the plan has spawned its largest worker.
fn slack(plan: &Plan, pool: &PoolName, device: Device) -> Option<u64> {
    let spawns = plan.actions.iter().filter(|action| action.pool == *pool);
    let slack = spawns.filter_map(|action| match &action.kind {
        ActionKind::Spawn {
            spec,
            fit: Some(Fit { bytes, free, .. }),
            ..
        } if spec.device == device => Some((*free)? - bytes),
        _ => None,
    });
    slack.min()
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_fresh_plan_is_not_stale(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
    ) {
        let plan = planned(&desired, &observed, options);
        prop_assert_eq!(stale(&plan, &observed), vec![]);
        prop_assert_eq!(unknown(&plan, &observed), vec![]);
    }

    #[test]
    fn what_an_action_relied_on_stales_it_and_no_other(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
        which in any::<prop::sample::Index>(),
    ) {
        let plan = planned(&desired, &observed, options);
        let facts: Vec<(&PoolName, &About)> = plan
            .actions
            .iter()
            .flat_map(|action| action.facts.iter().map(|fact| (&action.pool, &fact.about)))
            .collect();
        prop_assume!(!facts.is_empty());
        let (pool, about) = facts[which.index(facts.len())];
        let mut later = observed;
        let address = spoil(&mut later, pool, about);
        let is_on = |fact: &About| {
            fact == about || matches!((fact, &address), (About::Place(place), Some(address)) if place == address)
        };
        let expected: BTreeSet<ActionId> = plan
            .actions
            .iter()
            .filter(|action| action.pool == *pool && action.facts.iter().any(|fact| is_on(&fact.about)))
            .map(|action| action.id)
            .collect();
        let found: BTreeSet<ActionId> = stale(&plan, &later).iter().map(|stale| stale.action).collect();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn a_subject_that_the_plan_changes_first_is_relied_on_once(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
    ) {
        let plan = planned(&desired, &observed, options);
        let mut relied: BTreeSet<(&PoolName, &About)> = BTreeSet::new();
        for action in &plan.actions {
            let is_bare = matches!(observed.pools[&action.pool], PoolState::Bare(_));
            for fact in &action.facts {
                prop_assert!(relied.insert((&action.pool, &fact.about)), "{action:?}");
                prop_assert!(!is_bare || fact.about == About::Programs);
            }
            let about = match &action.kind {
                ActionKind::Install { .. } => Some(About::Programs),
                ActionKind::Register { model, .. } | ActionKind::Unregister { model, .. } => {
                    Some(About::Model(model.clone()))
                }
                ActionKind::Stop { worker, .. } => Some(About::Worker(worker.clone())),
                ActionKind::Link { .. } | ActionKind::Unlink => Some(About::Link),
                ActionKind::Configure { file, .. } => Some(About::Config(*file)),
                ActionKind::StartOrchestrator { .. } | ActionKind::StopOrchestrator => Some(About::Orchestrator),
                _ => None,
            };
            if let Some(about) = about.filter(|about| !is_bare || *about == About::Programs) {
                prop_assert!(relied.contains(&(&action.pool, &about)), "{action:?}");
            }
        }
    }

    #[test]
    fn what_no_action_relied_on_stales_none(
        desired in simulation::desired(),
        observed in simulation::observed(),
        options in options(),
    ) {
        let plan = planned(&desired, &observed, options);
        let mut later = observed;
        for (pool, state) in &mut later.pools {
            let PoolState::Known(seen) = state else { continue };
            for worker in &mut seen.workers {
                let record = &mut worker.record;
                if record.state == WorkerState::Starting {
                    record.state = WorkerState::Ready;
                }
                record.load_ms = Some(1);
                worker.answers = worker.alive;
            }
            for info in &mut seen.devices {
                match slack(&plan, pool, info.device) {
                    Some(slack) => info.memory.available -= slack.min(info.memory.available),
                    None => info.memory.available /= 2,
                }
            }
            for orchestrator in &mut seen.orchestrators {
                orchestrator.answers = orchestrator.alive;
                orchestrator.record.state = WorkerState::Ready;
            }
            seen.workers.push(stranger(None, None));
            seen.models.push(ObservedModel {
                entry: entry(&"stranger".parse().unwrap(), &manifest("one", 7), None),
                damaged: Vec::new(),
                touched: Vec::new(),
            });
        }
        prop_assert_eq!(stale(&plan, &later), vec![]);
    }

    #[test]
    fn a_worker_that_no_longer_fits_is_stale(
        desired in simulation::desired(),
        observed in simulation::observed(),
    ) {
        let plan = planned(&desired, &observed, Options::default());
        for pool in observed.pools.keys() {
            let Some(slack) = slack(&plan, pool, Device::Cpu) else { continue };
            let mut later = observed.clone();
            let Some(seen) = known(&mut later, pool) else { continue };
            let available = &mut seen.devices[0].memory.available;
            let Some(less) = available.checked_sub(slack + 1) else { continue };
            *available = less;
            let found = stale(&plan, &later);
            prop_assert!(!found.is_empty());
            for stale in found {
                prop_assert_eq!((&stale.pool, stale.about), (pool, None));
            }
        }
    }

    #[test]
    fn a_pool_that_went_is_told_apart(
        desired in simulation::desired(),
        observed in simulation::observed(),
    ) {
        let plan = planned(&desired, &observed, Options::default());
        let named: BTreeSet<&PoolName> = plan.actions.iter().map(|action| &action.pool).collect();
        let gone = Observed::default();
        prop_assert_eq!(stale(&plan, &gone), vec![]);
        let found = unknown(&plan, &gone);
        prop_assert_eq!(found.iter().map(|unknown| &unknown.pool).collect::<BTreeSet<_>>(), named);
    }
}

#[test]
fn the_text_names_the_thing_and_the_pool() {
    let text = "version: 1
fleet: home
pools: { a: { connect: local, devices: [cpu] } }
models: { one: { source: ./one } }
workers: { chat: { model: one, on: [a/cpu] } }
";
    let desired = simulation::resolved(text);
    let bare = reconciler::observed::Bare {
        platform: simulation::linux(),
        installed: None,
        broken: None,
    };
    let mut observed = Observed {
        pools: [(
            "a".parse().unwrap(),
            simulation::fresh(&bare, simulation::build(1)),
        )]
        .into(),
    };
    let plan = planned(&desired, &observed, Options::default());
    let pool: PoolName = "a".parse().unwrap();
    let place = About::Place("chat/a/cpu/0".parse().unwrap());
    spoil(&mut observed, &pool, &About::Model("one".parse().unwrap()));
    spoil(&mut observed, &pool, &place);
    known(&mut observed, &pool).unwrap().devices[0]
        .memory
        .available = 1 << 30;
    let texts: Vec<String> = stale(&plan, &observed)
        .into_iter()
        .map(|stale| stale.text)
        .collect();
    assert_eq!(
        texts,
        [
            "the model one on a came since the plan was made",
            "what runs at chat/a/cpu/0 on a came since the plan was made",
            "spawn chat/a/cpu/0 needs 2.4 GB, a/cpu has 1.1 GB now",
        ]
    );
}
