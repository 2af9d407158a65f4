//! What ends, and when.

use super::*;

#[test]
fn a_silent_worker_is_gone_and_comes_back_with_its_next_heartbeat() {
    let mut lab = lab(Config::default()).with(&[("a", 1)]);
    assert_eq!(lab.core.next_wakeup(lab.now), Some(45_000));
    lab.now.mono_ms = 44_999;
    assert_eq!(lab.core.tick(lab.now), []);
    lab.now.mono_ms = 45_000;
    let gone = Effect::WorkerGone { worker: "a".into() };
    assert_eq!(lab.core.tick(lab.now), [gone]);
    assert!(matches!(
        lab.submit(Priority::Batch),
        Err(Refused::NotServed(_))
    ));
    lab.core
        .probed(lab.now, &"a".into(), Condition::Unreachable);
    assert!(lab.core.heartbeat(lab.now, info("a", 1)), "probe it");
    lab.core.probed(lab.now, &"a".into(), Condition::Ready);
    lab.fill(Priority::Batch, 1);
    assert_eq!(lab.dispatch(), ["t1 a"]);
    lab.end("t1");
    lab.now.mono_ms = 45_000 + 600_000;
    lab.core.tick(lab.now);
    assert_eq!(
        (lab.core.workers().count(), lab.core.models().count()),
        (0, 0)
    );
    assert_eq!(lab.core.next_wakeup(lab.now), None);
}

#[test]
fn a_deadline_ends_what_waits_and_what_runs() {
    let mut lab = lab(Config::default()).with(&[("a", 1)]);
    lab.fill(Priority::Interactive, 2);
    lab.dispatch();
    lab.now.mono_ms = 300_000;
    let effects = lab.core.tick(lab.now);
    let was: Vec<_> = effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Expired { was, failure, .. } => {
                assert_eq!(failure.code, FailureCode::Deadline);
                Some(was.clone())
            }
            Effect::WorkerGone { .. } => None,
        })
        .collect();
    let running = Cancelled::Running {
        worker: "a".into(),
        attempt: 1,
    };
    assert_eq!(was, [running, Cancelled::Queued]);
    assert_eq!(lab.core.live(), 0);
}

#[test]
fn a_task_ends_once() {
    let mut lab = lab(Config::default()).with(&[("a", 1)]);
    lab.fill(Priority::Interactive, 2);
    lab.dispatch();
    let running = Cancelled::Running {
        worker: "a".into(),
        attempt: 1,
    };
    assert_eq!(lab.core.cancel(lab.now, &"t0".into()), running);
    assert_eq!(lab.core.cancel(lab.now, &"t0".into()), Cancelled::NotThere);
    assert_eq!(lab.core.cancel(lab.now, &"t1".into()), Cancelled::Queued);
    assert!(!lab.end("t0"));
    assert_eq!(lab.fail("t0", 1, AttemptError::Cut), Next::Stale);
    let stage = |lab: &Lab, id: &str| lab.core.explain(lab.now, &id.into()).unwrap().state;
    let ended = Stage::Ended {
        outcome: Outcome::Cancelled,
        after_ms: 0,
    };
    assert_eq!(
        (stage(&lab, "t0"), stage(&lab, "t1")),
        (ended.clone(), ended)
    );
}

#[test]
fn only_so_many_ended_tasks_are_remembered() {
    let mut lab = lab(Config {
        recent: 3,
        ..Config::default()
    })
    .with(&[("a", 1)]);
    for number in 0..5 {
        lab.fill(Priority::Interactive, 1);
        lab.core.cancel(lab.now, &format!("t{number}").into());
    }
    let known = |number: u64| {
        lab.core
            .explain(lab.now, &format!("t{number}").into())
            .is_some()
    };
    assert_eq!([0, 1, 2, 3, 4].map(known), [false, false, true, true, true]);
}

#[test]
fn heartbeats_and_answers_to_probes_keep_a_worker() {
    let mut lab = lab(Config::default()).with(&[("a", 1), ("b", 1), ("c", 1)]);
    lab.now.mono_ms = 30_000;
    assert!(!lab.core.heartbeat(lab.now, info("a", 1)));
    lab.core.probed(lab.now, &"b".into(), Condition::Ready);
    lab.core
        .probed(lab.now, &"c".into(), Condition::Unreachable);
    lab.now.mono_ms = 60_000;
    let gone = Effect::WorkerGone { worker: "c".into() };
    assert_eq!(lab.core.tick(lab.now), [gone]);
    assert_eq!(lab.core.next_wakeup(lab.now), Some(75_000));
}
