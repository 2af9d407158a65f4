use super::*;
use crate::core::config::BreakerConfig;
use crate::core::ids::TaskId;
use crate::core::task::Priority;
use crate::core::worker::WorkerInfo;
use pool_core::device::Device;

const NOW: u64 = 10_000;

fn worker(name: &str) -> Worker {
    let info = WorkerInfo {
        id: name.into(),
        model: "tiny".parse().unwrap(),
        digest: None,
        pool: "p".into(),
        device: Device::Cpu,
        url: String::new(),
        slots: 2,
        busy: 0,
        memory_free: 1000,
        context_length: 1000,
        us_per_token: None,
    };
    Worker::new(info, Condition::Ready, NOW)
}

fn task() -> TaskView {
    TaskView {
        id: TaskId::from("t"),
        tenant: "a".into(),
        model: "tiny".parse().unwrap(),
        class: Priority::Interactive,
        tokens_in: 100,
        max_tokens: 100,
        session: None,
        prefixes: Vec::new(),
        context: 200,
        attempts: 0,
        failed_on: Vec::new(),
    }
}

fn decide(strategy: Scheduling, last: usize, workers: &[Worker], task: &TaskView) -> Decision {
    let snapshot = Snapshot {
        mono_ms: NOW,
        unix_ms: 0,
        model: &task.model,
        strategy,
        affinity: Affinity::default(),
        last,
        queued_interactive: 1,
        queued_batch: 0,
        queued_tokens: 200,
        workers,
    };
    schedule(&snapshot, task)
}

fn chosen(strategy: Scheduling, last: usize, workers: &[Worker]) -> String {
    let decision = decide(strategy, last, workers, &task());
    decision.worker.unwrap().to_string()
}

#[test]
fn the_least_loaded_has_fewest_tokens_for_each_slot() {
    let (mut a, mut b) = (worker("a"), worker("b"));
    (a.tokens, a.running) = (500, 1);
    (b.tokens, b.running, b.info.slots) = (800, 2, 8);
    assert_eq!(chosen(Scheduling::LeastLoaded, 0, &[a, b]), "b");
}

#[test]
fn in_turn_each_worker_comes_after_the_one_before() {
    let workers = ["a", "b", "c"].map(worker);
    let next = |last| chosen(Scheduling::RoundRobin, last, &workers);
    assert_eq!([next(0), next(1), next(2)], ["b", "c", "a"]);
    assert_eq!(chosen(Scheduling::RoundRobin, 7, &workers[..1]), "a");
}

#[test]
fn most_free_memory_wins() {
    let (a, mut b) = (worker("a"), worker("b"));
    b.info.memory_free = 2000;
    assert_eq!(chosen(Scheduling::MostFreeMemory, 0, &[a, b]), "b");
}

#[test]
fn a_known_prefix_or_session_outweighs_a_little_load_and_not_much() {
    let (a, mut b) = (worker("a"), worker("b"));
    b.warm.add(1);
    b.warm.add(2);
    b.warm.add(77);
    b.running = 1;
    let mut asked = task();
    asked.prefixes = vec![1, 2, 3, 4];
    let score = |asked: &TaskView, b: &Worker| {
        let decision = decide(Scheduling::LeastLoaded, 0, &[a.clone(), b.clone()], asked);
        (
            decision.worker.unwrap().to_string(),
            decision.candidates[1].score,
        )
    };
    let (worker, half) = score(&asked, &b);
    assert_eq!(worker, "b");
    assert!((half - 1.15).abs() < 1e-9);
    asked.session = Some(77);
    let (_, both) = score(&asked, &b);
    assert!((both - 1.35).abs() < 1e-9);
    b.tokens = 5000;
    assert_eq!(score(&asked, &b).0, "a");
}

#[test]
fn each_worker_that_cannot_take_it_says_why() {
    let mut workers: Vec<Worker> = ('a'..='j').map(|c| worker(&c.to_string())).collect();
    workers[0].condition = Condition::Gone;
    workers[1].condition = Condition::Unreachable;
    workers[2].condition = Condition::Loading;
    workers[3].condition = Condition::Draining;
    workers[4].drained = true;
    workers[5].info.context_length = 199;
    workers[6]
        .breaker
        .failed(NOW, true, &BreakerConfig::default());
    workers[7]
        .breaker
        .failed(0, true, &BreakerConfig::default());
    workers[7].breaker.begin();
    workers[8].busy_until = NOW + 7;
    workers[9].foreign = 2;
    let decision = decide(Scheduling::LeastLoaded, 0, &workers, &task());
    assert_eq!(decision.worker, None);
    let reasons: Vec<Filter> = decision
        .candidates
        .iter()
        .filter_map(|candidate| candidate.filtered)
        .collect();
    let expected = [
        Filter::Gone,
        Filter::Unreachable,
        Filter::Loading,
        Filter::Draining,
        Filter::Draining,
        Filter::ContextTooShort {
            context_length: 199,
        },
        Filter::BreakerOpen { for_ms: 1000 },
        Filter::Trial,
        Filter::Busy { for_ms: 7 },
        Filter::NoFreeSlot,
    ];
    assert_eq!(reasons, expected);
}

#[test]
fn where_it_failed_it_goes_again_only_when_there_is_nothing_else() {
    let (a, mut b) = (worker("a"), worker("b"));
    let mut asked = task();
    asked.failed_on = vec!["a".into()];
    let on = |b: &Worker| decide(Scheduling::LeastLoaded, 0, &[a.clone(), b.clone()], &asked);
    assert_eq!(on(&b).worker, Some("b".into()));
    assert_eq!(on(&b).candidates[0].filtered, Some(Filter::FailedBefore));
    b.running = 2;
    assert_eq!(on(&b).worker, None);
    b.condition = Condition::Gone;
    assert_eq!(on(&b).worker, Some("a".into()));
}

#[test]
fn without_workers_there_is_no_decision_and_no_panic() {
    for strategy in [
        Scheduling::RoundRobin,
        Scheduling::LeastLoaded,
        Scheduling::MostFreeMemory,
    ] {
        assert_eq!(decide(strategy, 3, &[], &task()).worker, None);
    }
}

#[test]
fn what_scripts_see_is_named_as_the_documentation_says() {
    let task = task();
    let workers = [worker("a")];
    let decision = decide(Scheduling::LeastLoaded, 0, &workers, &task);
    let json = serde_json::to_value(&decision).unwrap();
    assert_eq!(json["candidates"][0]["worker"], "a");
    let json = serde_json::to_value(&*workers[0]).unwrap();
    for field in [
        "id",
        "pool",
        "device",
        "slots",
        "running",
        "tokens",
        "condition",
    ] {
        assert!(json.get(field).is_some(), "{field}");
    }
    assert_eq!(serde_json::to_value(&task).unwrap()["class"], "interactive");
}
