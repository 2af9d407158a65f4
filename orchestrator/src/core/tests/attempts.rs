//! What becomes of attempts.

use super::*;

#[test]
fn a_failed_attempt_is_repeated_elsewhere_and_first() {
    let mut lab = lab(Config::default()).with(&[("a", 1), ("b", 1)]);
    lab.fill(Priority::Interactive, 3);
    assert_eq!(lab.dispatch(), ["t0 a", "t1 b"]);
    assert_eq!(lab.fail("t0", 1, status(500)), Next::Requeued);
    assert_eq!(lab.dispatch(), ["t2 a"], "the other worker has no slot yet");
    lab.end("t1");
    assert_eq!(lab.dispatch(), ["t0 b"]);
    assert_eq!(lab.fail("t0", 1, status(500)), Next::Stale);
    let explained = lab.core.explain(lab.now, &"t0".into()).unwrap();
    assert_eq!(explained.attempts.len(), 2);
    assert_eq!(explained.attempts[0].error, Some(status(500)));
}

#[test]
fn after_the_first_token_nothing_is_repeated() {
    let mut lab = lab(Config::default()).with(&[("a", 1), ("b", 1)]);
    lab.fill(Priority::Interactive, 1);
    lab.dispatch();
    assert!(lab.core.passed_on(&"t0".into(), 1, 1));
    assert!(matches!(
        lab.fail("t0", 1, AttemptError::Cut),
        Next::Failed(_)
    ));
    assert!(!lab.core.passed_on(&"t0".into(), 1, 1));
    assert!(!lab.end("t0"));
    assert_eq!(lab.core.live(), 0);
}

#[test]
fn a_request_that_is_wrong_is_wrong_everywhere_and_trips_nothing() {
    let mut lab = lab(Config::default()).with(&[("a", 1), ("b", 1)]);
    for code in [400, 401, 404, 409, 413, 422, 499] {
        let task = format!("t{}", lab.submitted);
        lab.fill(Priority::Interactive, 1);
        assert_eq!(lab.dispatch(), [format!("{task} a")], "{code}");
        let Next::Failed(failure) = lab.fail(&task, 1, status(code)) else {
            panic!("{code} was repeated");
        };
        assert!(!failure.retriable);
    }
}

#[test]
fn attempts_are_limited() {
    let mut lab = lab(Config::default()).with(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]);
    lab.fill(Priority::Interactive, 1);
    for attempt in 1..=2 {
        lab.dispatch();
        assert_eq!(lab.fail("t0", attempt, AttemptError::Cut), Next::Requeued);
    }
    lab.dispatch();
    assert!(matches!(
        lab.fail("t0", 3, AttemptError::Cut),
        Next::Failed(_)
    ));
}

#[test]
fn a_worker_that_is_full_is_asked_again_after_a_pause() {
    let mut lab = lab(Config::default()).with(&[("a", 1)]);
    lab.fill(Priority::Interactive, 1);
    for (attempt, pause) in (1..).zip([100, 200, 400, 800, 1600, 3200, 5000, 5000]) {
        assert_eq!(lab.dispatch(), ["t0 a"]);
        assert_eq!(lab.fail("t0", attempt, status(429)), Next::Requeued);
        assert_eq!(lab.dispatch(), [""; 0]);
        let wake = lab.core.next_wakeup(lab.now).unwrap();
        assert_eq!(wake - lab.now.mono_ms, pause);
        lab.now.mono_ms = wake;
    }
}

#[test]
fn a_worker_that_cannot_be_reached_gets_one_task_to_try() {
    let mut lab = lab(Config::default()).with(&[("a", 4)]);
    lab.fill(Priority::Interactive, 3);
    lab.dispatch();
    assert_eq!(lab.fail("t0", 1, connect()), Next::Requeued);
    assert_eq!(lab.dispatch(), [""; 0]);
    lab.now.mono_ms = 1000;
    lab.fill(Priority::Interactive, 1);
    assert_eq!(lab.dispatch(), ["t0 a"]);
    assert!(lab.core.passed_on(&"t0".into(), 2, 1));
    assert_eq!(lab.dispatch(), ["t3 a"], "the trial went well");
}

#[test]
fn a_drained_worker_finishes_what_it_has() {
    let mut lab = lab(Config::default()).with(&[("a", 1), ("b", 1)]);
    lab.fill(Priority::Interactive, 2);
    lab.dispatch();
    assert!(lab.core.drain_worker(&"a".into(), true));
    lab.fill(Priority::Interactive, 2);
    assert!(lab.end("t0") && lab.end("t1"));
    assert_eq!(lab.dispatch(), ["t2 b"]);
    lab.core.drain_worker(&"a".into(), false);
    assert_eq!(lab.dispatch(), ["t3 a"]);
}
