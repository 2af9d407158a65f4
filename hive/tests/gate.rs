//! What a worker must answer before it counts as ready.

use hive::process;
use pool_core::observation::ObservedWorker;
use pool_core::rpc::{ErrorCode, Outcome};
use pool_core::worker::{Canary, WorkerState};

use crate::util::{Pool, spawn, spec};

#[test]
fn a_worker_with_the_wrong_answer_is_stopped_and_one_with_the_right_one_is_ready() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let mut canary = Canary {
        prompt: "Where do \"bees\" live?".into(),
        expect: Some("In a hive, of course".into()),
        max_tokens: 24,
    };
    let failed = connection
        .call(spawn(&spec(&entry, 0), canary.clone()))
        .unwrap_err();
    assert_eq!(failed.code, ErrorCode::GateFailed);
    for part in [
        "answered wrongly",
        r#"asked "Where do \"bees\" live?""#,
        r#"which does not hold "In a hive, of course""#,
    ] {
        assert!(failed.message.contains(part), "{failed}");
    }
    let left = pool.workers().remove(0);
    assert!(!left.alive);
    assert_eq!(left.record.state, WorkerState::Failed);
    let reason = left.record.failure.unwrap();
    assert!(reason.contains("In a hive, of course"), "{reason}");
    assert_eq!(left.record.load_ms, None);
    assert!(!process::is_alive(&left.record.process.unwrap()));

    // What it really says, with blanks around that do not count.
    let said = reason.split("it answered \"").nth(1).unwrap();
    let said = said.split("\", which").next().unwrap();
    assert!(!said.contains('\\') && !said.is_empty(), "{reason}");
    canary.expect = Some(format!(" {said}\n"));
    let spawned = connection.call(spawn(&spec(&entry, 0), canary));
    let Outcome::Spawned(record) = spawned.unwrap() else {
        panic!()
    };
    assert_eq!(record.state, WorkerState::Ready);
    assert!(record.load_ms.is_some_and(|ms| ms > 0 && ms < 60_000));
    assert_eq!(pool.workers().len(), 1);
}

#[test]
fn a_worker_that_serves_says_how_it_is() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let record = pool.connect().spawn(&spec(&entry, 0)).unwrap();
    let ObservedWorker { health, .. } = pool.workers().remove(0);
    let health = health.unwrap();
    assert_eq!(health.slots.total, 1);
    assert_eq!(Some(health.memory), record.memory);
    // The canary was a request, but of too few tokens to tell how fast it is.
    assert_eq!(health.us_per_token, None);

    // Its port is another's: what that one says is not of this worker.
    let other = pool.connect().spawn(&spec(&entry, 1)).unwrap();
    pool.edit_record(&record, |record| {
        record["listen"] = other.listen.to_string().into();
    });
    let seen = pool.workers();
    let healths: Vec<_> = seen.iter().map(|seen| seen.health.is_some()).collect();
    assert_eq!(healths, [false, true]);
    // One that does not answer says nothing.
    pool.edit_record(&other, |record| {
        record["listen"] = "127.0.0.1:1".into();
    });
    assert_eq!(pool.workers()[1].health, None);
}
