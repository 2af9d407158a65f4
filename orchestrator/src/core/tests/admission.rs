//! Who may wait for its turn.

use super::*;

#[test]
fn the_position_that_is_told_is_the_one_that_comes_true() {
    let mut lab = lab(Config::default()).with(&[("w", 1)]);
    lab.fill(Priority::Batch, 3);
    let told = lab.submit(Priority::Interactive).unwrap();
    assert_eq!(told.queue_position, 0);
    lab.dispatch();
    let told = lab.submit(Priority::Batch).unwrap();
    assert_eq!(told.queue_position, 3);
    assert!(told.predicted_start_ms >= 4000, "{told:?}");
}

#[test]
fn a_full_queue_tells_when_there_is_a_place_and_keeps_it() {
    let mut lab = lab(Config {
        queue_bound: 10,
        ..Config::default()
    })
    .with(&[("w", 1)]);
    lab.fill(Priority::Interactive, 1);
    lab.dispatch();
    lab.fill(Priority::Interactive, 10);
    let mut waits = Vec::new();
    for _ in 0..3 {
        match lab.submit(Priority::Interactive) {
            Err(Refused::QueueFull {
                queued,
                retry_after_ms,
            }) => {
                assert_eq!(queued, 10);
                waits.push(retry_after_ms);
            }
            other => panic!("{other:?}"),
        }
    }
    // 100 tokens at 10 ms each, and a fifth more.
    assert_eq!(waits, [1200, 2400, 3600]);
    lab.end("t0");
    lab.dispatch();
    lab.now.mono_ms = waits[0];
    assert!(matches!(
        lab.submit(Priority::Interactive),
        Err(Refused::QueueFull { .. })
    ));
    let mut back = lab.task(Priority::Interactive);
    back.request = 11;
    assert!(lab.core.submit(lab.now, back).is_ok(), "its place was kept");
}

/// Another core with the tenants of a test, as a restart after so many milliseconds leaves it.
fn restarted(lab: &mut Lab, after_ms: u64, limits: &TenantLimits) -> Lab {
    let home: TenantId = "home".into();
    let stored = serde_json::to_vec(&lab.core.promised(lab.now)).unwrap();
    let usage = lab.core.usage(lab.now, &home).unwrap();
    let mut new = Lab {
        core: Core::new(lab.core.config().clone(), Box::new(BuiltIn)),
        now: Now {
            mono_ms: 7,
            unix_ms: lab.now.unix_ms + after_ms,
        },
        submitted: 100,
    };
    new.core
        .set_tenants(new.now, [(home.clone(), limits.clone())]);
    new.core.restore_usage(new.now, &home, usage);
    let promised = serde_json::from_slice(&stored).unwrap();
    new.core.restore_promises(new.now, promised);
    new.with(&[("w", 1)])
}

/// Whether the request with a number is admitted.
fn is_admitted(lab: &mut Lab, request: u64) -> bool {
    let mut task = lab.task(Priority::Interactive);
    lab.submitted += 1;
    task.request = request;
    lab.core.submit(lab.now, task).is_ok()
}

#[test]
fn a_place_is_kept_over_a_restart() {
    let mut lab = lab(Config {
        queue_bound: 10,
        ..Config::default()
    })
    .with(&[("w", 1)]);
    lab.fill(Priority::Interactive, 10);
    let Err(Refused::QueueFull { retry_after_ms, .. }) = lab.submit(Priority::Interactive) else {
        panic!("the queue has more places than it should");
    };
    for (after_ms, waits_ms) in [
        (200, retry_after_ms - 200),
        // It is down for longer than that.
        (60_000, 0),
        // The wall clock is set back.
        (0, retry_after_ms),
    ] {
        let mut after = restarted(&mut lab, after_ms, &TenantLimits::default());
        after.now.mono_ms += waits_ms.saturating_sub(500);
        after.fill(Priority::Interactive, 9);
        assert!(!is_admitted(&mut after, 20), "the last place is kept");
        let is_early = waits_ms > 0;
        assert_eq!(is_admitted(&mut after, 10), !is_early);
        after.now.mono_ms += 500;
        assert!(!is_early || is_admitted(&mut after, 10));
    }
}

#[test]
fn tokens_are_kept_over_a_restart_for_who_was_refused_first() {
    let limits = TenantLimits {
        tokens_per_minute: Some(600),
        ..TenantLimits::default()
    };
    let mut lab = lab(Config::default()).with(&[("w", 1)]);
    lab.core
        .set_tenants(lab.now, [("home".into(), limits.clone())]);
    lab.fill(Priority::Interactive, 6);
    lab.dispatch();
    for task in ["t0", "t1", "t2", "t3", "t4", "t5"] {
        let used = Used {
            tokens_in: 50,
            tokens_out: 50,
        };
        lab.core.ended(lab.now, &task.into(), 1, used);
        lab.dispatch();
    }
    let waits: Vec<_> = (6..8)
        .map(|request| {
            let mut task = lab.task(Priority::Interactive);
            task.request = request;
            let refused = lab.core.submit(lab.now, task).unwrap_err();
            refused.retry_after_ms().unwrap()
        })
        .collect();
    assert_eq!(waits, [10_000, 20_000]);
    let mut after = restarted(&mut lab, 4_000, &limits);
    after.now.mono_ms += 6_000;
    assert!(!is_admitted(&mut after, 20), "who was not told");
    assert!(!is_admitted(&mut after, 7), "who was told later");
    assert!(is_admitted(&mut after, 6));
    after.now.mono_ms += 10_000;
    assert!(!is_admitted(&mut after, 21));
    assert!(is_admitted(&mut after, 7));
}

#[test]
fn a_full_queue_makes_place_as_it_is_told_to() {
    let full = |when_full, class: [Priority; 3]| {
        let config = Config {
            queue_bound: 2,
            when_full,
            ..Config::default()
        };
        let mut lab = lab(config).with(&[("w", 1)]);
        lab.submit(class[0]).unwrap();
        lab.submit(class[1]).unwrap();
        let admitted = lab.submit(class[2]);
        let dropped = admitted.map(|admitted| admitted.dropped.map(|task| task.to_string()));
        assert_eq!(lab.core.live(), 2);
        dropped.map_err(|_| ())
    };
    let (batch, interactive) = (Priority::Batch, Priority::Interactive);
    let t = |name: &str| Ok(Some(name.to_owned()));
    assert_eq!(full(WhenFull::Reject, [batch, batch, interactive]), Err(()));
    assert_eq!(
        full(WhenFull::ShedBatch, [batch, batch, interactive]),
        t("t1")
    );
    assert_eq!(full(WhenFull::ShedBatch, [batch, batch, batch]), Err(()));
    assert_eq!(
        full(WhenFull::ShedBatch, [interactive, interactive, interactive]),
        Err(())
    );
    assert_eq!(
        full(WhenFull::DropOldest, [interactive, batch, interactive]),
        t("t1")
    );
    assert_eq!(
        full(
            WhenFull::DropOldest,
            [interactive, interactive, interactive]
        ),
        t("t0")
    );
    assert_eq!(
        full(WhenFull::DropOldest, [interactive, interactive, batch]),
        Err(())
    );
}

#[test]
fn before_the_first_worker_is_known_no_model_is_unknown() {
    let mut lab = lab(Config::default());
    let mut task = lab.task(Priority::Interactive);
    task.model = "other".parse().unwrap();
    let refused = lab.core.submit(lab.now, task).unwrap_err();
    assert!(matches!(refused, Refused::NotServed(_)), "{refused}");
    assert_eq!(refused.retry_after_ms(), Some(15_000));
}

#[test]
fn what_cannot_be_is_refused_before_it_waits() {
    let mut lab = lab(Config {
        models: vec!["declared".parse().unwrap()],
        ..Config::default()
    })
    .with(&[("w", 1)]);
    let mut refused = |change: &dyn Fn(&mut NewTask)| {
        let mut task = lab.task(Priority::Interactive);
        change(&mut task);
        let error = lab.core.submit(lab.now, task).unwrap_err();
        assert_eq!(lab.core.live(), 0);
        error
    };
    let unknown = refused(&|task| task.model = "other".parse().unwrap());
    assert!(matches!(unknown, Refused::UnknownModel(_)));
    let not_served = refused(&|task| task.model = "declared".parse().unwrap());
    assert!(matches!(not_served, Refused::NotServed(_)));
    assert_eq!(not_served.retry_after_ms(), Some(15_000));
    assert_eq!(
        refused(&|task| task.tenant = "x".into()),
        Refused::UnknownTenant
    );
    let too_long = refused(&|task| task.tokens_in = 951);
    assert!(matches!(
        too_long,
        Refused::TooLong {
            context_length: 1000,
            ..
        }
    ));
    let deadline = refused(&|task| task.deadline_ms = Some(1_800_001));
    assert!(matches!(deadline, Refused::DeadlineOutOfRange { .. }));
    let deadline = refused(&|task| task.deadline_ms = Some(0));
    assert!(matches!(deadline, Refused::DeadlineOutOfRange { .. }));
    lab.core.drain(true);
    assert_eq!(lab.submit(Priority::Batch), Err(Refused::Draining));
}

#[test]
fn a_deadline_that_the_queue_makes_impossible_is_told() {
    let mut lab = lab(Config::default()).with(&[("w", 1)]);
    lab.fill(Priority::Interactive, 1);
    lab.dispatch();
    lab.fill(Priority::Interactive, 5);
    let mut task = lab.task(Priority::Interactive);
    task.deadline_ms = Some(3000);
    match lab.core.submit(lab.now, task) {
        Err(Refused::DeadlineImpossible {
            predicted_start_ms, ..
        }) => {
            assert_eq!(predicted_start_ms, 6000);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(
        (lab.core.live(), lab.core.queued(Priority::Interactive)),
        (6, 5)
    );
}

#[test]
fn without_a_number_an_answer_may_be_as_long_as_the_context_leaves() {
    let mut lab = lab(Config::default()).with(&[("w", 1)]);
    let mut task = lab.task(Priority::Interactive);
    task.max_tokens = None;
    assert_eq!(lab.core.submit(lab.now, task).unwrap().max_tokens, 950);
}

#[test]
fn one_tenant_cannot_take_every_place_from_the_others() {
    let mut lab = lab(Config::default()).with(&[("w", 1)]);
    let tenants = ["home", "other"].map(|name| (name.into(), TenantLimits::default()));
    lab.core.set_tenants(lab.now, tenants);
    while lab.submit(Priority::Interactive).is_ok() {}
    assert_eq!(lab.core.queued(Priority::Interactive), 89);
    let mut task = lab.task(Priority::Interactive);
    task.tenant = "other".into();
    assert_eq!(lab.core.submit(lab.now, task).unwrap().queue_position, 1);
}
