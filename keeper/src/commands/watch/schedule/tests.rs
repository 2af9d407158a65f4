//! Times that nobody has to wait for.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

fn schedule() -> Schedule {
    Schedule::new(MINUTE, 7)
}

fn worker() -> Service {
    Service::Worker("chat/here/cpu/0".parse().unwrap())
}

fn pool() -> PoolName {
    "two".parse().unwrap()
}

/// How long a worker waits that dies whenever it was started.
fn pauses(schedule: &mut Schedule, spec: Sha256, count: usize) -> Vec<Duration> {
    let mut now = MINUTE;
    let mut pauses = Vec::new();
    for _ in 0..count {
        schedule.spawned(&worker(), spec, now);
        let Spawn::Later(until) = schedule.may_spawn(&worker(), spec, now) else {
            panic!("it may be started at once");
        };
        let pause = until.checked_sub(now).unwrap();
        let later = now + pause / 2;
        let again = schedule.may_spawn(&worker(), spec, later);
        assert_eq!(again, Spawn::Later(until));
        assert_eq!(schedule.may_spawn(&worker(), spec, until), Spawn::Now);
        pauses.push(pause);
        now = until;
    }
    pauses
}

#[test]
fn a_worker_that_dies_at_once_waits_twice_as_long_each_time_up_to_five_minutes() {
    let mut schedule = schedule();
    let pauses = pauses(&mut schedule, Sha256::of("a"), 12);
    for (n, pause) in pauses.iter().enumerate() {
        let most = SECOND * 2_u32.pow(u32::try_from(n).unwrap());
        let most = most.min(MINUTE * 5);
        assert!(*pause <= most && *pause >= most / 2, "{n}: {pause:?}");
    }
    assert!(pauses.iter().any(|pause| *pause != MINUTE * 5));
}

#[test]
fn the_first_start_is_at_once_and_so_is_one_of_a_worker_that_changed() {
    let mut schedule = schedule();
    let (a, b) = (Sha256::of("a"), Sha256::of("b"));
    assert_eq!(schedule.may_spawn(&worker(), a, SECOND), Spawn::Now);
    pauses(&mut schedule, a, 8);
    schedule.spawned(&worker(), a, MINUTE);
    assert_eq!(schedule.may_spawn(&worker(), b, MINUTE), Spawn::Now);
    schedule.spawned(&worker(), b, MINUTE);
    let Spawn::Later(until) = schedule.may_spawn(&worker(), b, MINUTE) else {
        panic!("another start at once");
    };
    assert!(
        until <= MINUTE + SECOND,
        "it pays for what it was before: {until:?}"
    );
}

#[test]
fn a_worker_that_served_for_a_while_begins_anew() {
    let mut schedule = schedule();
    let a = Sha256::of("a");
    pauses(&mut schedule, a, 8);
    schedule.spawned(&worker(), a, MINUTE * 10);
    schedule.serves(&worker(), MINUTE * 11);
    let now = MINUTE * 11;
    assert!(matches!(
        schedule.may_spawn(&worker(), a, now),
        Spawn::Later(_)
    ));
    schedule.serves(&worker(), MINUTE * 15);
    schedule.spawned(&worker(), a, MINUTE * 15);
    let Spawn::Later(until) = schedule.may_spawn(&worker(), a, MINUTE * 15) else {
        panic!("another start at once");
    };
    assert!(until <= MINUTE * 15 + SECOND, "{until:?}");
}

#[test]
fn a_service_that_is_given_something_else_begins_anew_and_no_other_with_it() {
    let mut schedule = schedule();
    let (a, orchestrator) = (Sha256::of("a"), Service::Orchestrator(pool()));
    pauses(&mut schedule, a, 8);
    schedule.spawned(&orchestrator, a, MINUTE);
    schedule.changed(&worker());
    assert_eq!(schedule.may_spawn(&worker(), a, MINUTE), Spawn::Now);
    assert!(matches!(
        schedule.may_spawn(&orchestrator, a, MINUTE),
        Spawn::Later(_)
    ));
}

#[test]
fn a_watch_sleeps_until_the_next_round_or_the_start_that_is_waited_for() {
    let mut schedule = schedule();
    assert_eq!(schedule.pause(SECOND), Duration::ZERO);
    schedule.round(SECOND);
    assert_eq!(schedule.pause(SECOND * 11), SECOND * 50);
    assert_eq!(schedule.pause(MINUTE * 2), Duration::ZERO);
    let a = Sha256::of("a");
    schedule.spawned(&worker(), a, SECOND);
    assert_eq!(schedule.pause(SECOND), MINUTE, "nobody waits for it");
    schedule.may_spawn(&worker(), a, SECOND);
    assert!(schedule.pause(SECOND) <= SECOND);
    // It is no more in the file when it may be started: nobody asks for it.
    schedule.round(SECOND * 2);
    assert_eq!(schedule.pause(SECOND * 2), MINUTE);
}

#[test]
fn a_pool_that_is_down_is_asked_ever_more_rarely_and_told_of_once() {
    let mut schedule = schedule();
    let mut now = Duration::ZERO;
    let mut asked = Vec::new();
    while now < MINUTE * 240 {
        schedule.round(now);
        if schedule.is_due(&pool(), now) {
            let turn = schedule.answered(&pool(), false, now);
            assert_eq!(turn, asked.is_empty().then_some(Turn::Gone));
            asked.push(now);
        }
        now += schedule.pause(now);
    }
    let gaps: Vec<Duration> = asked
        .windows(2)
        .map(|two| two[1].checked_sub(two[0]).unwrap())
        .collect();
    assert_eq!(gaps[0], MINUTE);
    assert!(gaps[4] >= MINUTE * 7, "{gaps:?}");
    assert!(gaps.iter().all(|gap| *gap <= MINUTE * 16), "{gaps:?}");
    assert!(asked.len() < 40, "{} times in 240 minutes", asked.len());
    assert_eq!(schedule.answered(&pool(), true, now), Some(Turn::Back));
    assert_eq!(schedule.answered(&pool(), true, now), None);
    assert!(schedule.is_due(&pool(), now));
}

#[test]
fn a_pool_that_became_another_machine_is_asked_at_once() {
    let mut schedule = schedule();
    for _ in 0..5 {
        schedule.answered(&pool(), false, SECOND);
    }
    assert!(!schedule.is_due(&pool(), SECOND));
    schedule.forget(&pool());
    assert!(schedule.is_due(&pool(), SECOND));
}
