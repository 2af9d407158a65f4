//! Whose a thing is, who may change that, and what is kept.

use hive::process::{self, Signal};
use pool_core::name::FleetName;
use pool_core::observation::ObservedWorker;
use pool_core::rpc::{ErrorCode, HiveError, Outcome, Request, Subject};
use pool_core::worker::{Canary, WorkerRecord, WorkerSpec};

use crate::util::{Connection, Pool, Worker, entry, spec, wait_for};

fn fleet(name: &str) -> FleetName {
    name.parse().unwrap()
}

fn protect(
    connection: &mut Connection,
    subject: Subject,
    owner: &str,
    protect: bool,
) -> Result<Outcome, HiveError> {
    connection.call(Request::Protect {
        subject,
        owner: fleet(owner),
        protect,
    })
}

fn adopt(
    connection: &mut Connection,
    subject: Subject,
    owner: &str,
    address: Option<&str>,
) -> Result<Outcome, HiveError> {
    connection.call(Request::Adopt {
        subject,
        owner: fleet(owner),
        address: address.map(|address| address.parse().unwrap()),
    })
}

#[test]
fn a_protected_model_is_not_taken_out_for_its_fleet() {
    let pool = Pool::with(Worker::Missing);
    let model = entry("m", &[("a", b"a")]);
    let mut connection = pool.connect();
    connection.bring(&model, &[b"a"]);
    let subject = || Subject::Model(model.id.clone());
    let unregister = || Request::Unregister {
        model: model.id.clone(),
        owner: Some(fleet("home")),
    };
    let refused = protect(&mut connection, subject(), "lab", true).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotOwned);
    assert_eq!(
        protect(&mut connection, subject(), "home", true).unwrap(),
        Outcome::Changed
    );
    let refused = connection.call(unregister()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Protected);
    assert!(refused.help.unwrap().contains("protect: false"));
    assert!(pool.ok(&["models", "catalog"]).contains("home (protected)"));
    // Registering it again takes nothing of that away.
    connection.bring(&model, &[]);
    assert!(pool.observe().models[0].is_whole());
    let refused = connection.call(unregister()).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Protected);

    protect(&mut connection, subject(), "home", false).unwrap();
    connection.call(unregister()).unwrap();
    let gone = protect(&mut connection, subject(), "home", true).unwrap_err();
    assert_eq!(gone.code, ErrorCode::NotFound);
}

#[test]
fn a_worker_is_protected_from_its_start_or_from_the_next_spawn_on() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let mut spawn = |protect| {
        let spawned = connection.call(Request::Spawn {
            spec: Box::new(spec(&entry, 0)),
            canary: Canary::default(),
            protect,
        });
        let Outcome::Spawned(record) = spawned.unwrap() else {
            panic!()
        };
        record
    };
    let record = spawn(true);
    assert!(record.protect);
    assert!(pool.ok(&["worker", "list"]).contains("home (protected)"));
    assert!(!spawn(false).protect);
    assert!(spawn(true).protect);
    assert_eq!(pool.workers().len(), 1);
    let subject = || Subject::Worker(record.id.clone());
    let refused = protect(&mut connection, subject(), "lab", false).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotOwned);
    assert!(pool.workers()[0].record.protect);
    protect(&mut connection, subject(), "home", false).unwrap();
    assert!(!pool.workers()[0].record.protect);
}

#[test]
fn a_protected_worker_is_stopped_for_its_fleet_only_where_another_takes_its_place() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let [old, other] = [0, 1].map(|n| spawn_protected(&mut connection, spec(&entry, n)));
    let mut changed = spec(&entry, 0);
    changed.slots = 2;
    let stop = |record: &WorkerRecord, for_spawn| Request::Stop {
        worker: record.id.clone(),
        owner: Some(fleet("home")),
        deadline_s: 10,
        for_spawn,
    };
    // One that serves at another address replaces nothing.
    let refused = connection.call(stop(&old, false)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Protected);
    assert!(refused.help.unwrap().contains("protect: false"));
    assert!(pool.workers().iter().all(ObservedWorker::is_serving));
    assert_eq!(pool.workers().len(), 2);

    let new = spawn_protected(&mut connection, changed);
    connection.call(stop(&old, false)).unwrap();
    connection.call(stop(&other, true)).unwrap();
    let refused = connection.call(stop(&new, false)).unwrap_err();
    assert_eq!(refused.code, ErrorCode::Protected);
    // What is dead already is forgotten; a person may stop any.
    let again = spawn_protected(&mut connection, spec(&entry, 1));
    process::signal(again.process.as_ref().unwrap(), Signal::KILL).unwrap();
    wait_for("the end of the worker", || {
        (!process::is_alive(again.process.as_ref().unwrap())).then_some(())
    });
    connection.call(stop(&again, false)).unwrap();
    pool.ok(&["worker", "stop", new.id.as_str()]);
    assert_eq!(pool.workers(), []);
}

fn spawn_protected(connection: &mut Connection, spec: WorkerSpec) -> WorkerRecord {
    let spawned = connection.call(Request::Spawn {
        spec: Box::new(spec),
        canary: Canary::default(),
        protect: true,
    });
    let Outcome::Spawned(record) = spawned.unwrap() else {
        panic!()
    };
    record
}

#[test]
fn what_belongs_to_nobody_can_be_adopted_once() {
    let pool = Pool::new();
    let by_hand = pool.register_tiny();
    let worker = pool.spawn_tiny();
    let mut connection = pool.connect();
    let (model, of_hand) = (
        || Subject::Model(by_hand.id.clone()),
        || Subject::Worker(worker.id.clone()),
    );
    adopt(&mut connection, model(), "home", None).unwrap();
    assert_eq!(pool.observe().models[0].entry.fleet, Some(fleet("home")));
    for other in ["home", "lab"] {
        let refused = adopt(&mut connection, model(), other, None).unwrap_err();
        assert_eq!(refused.code, ErrorCode::NotOwned);
    }

    // An address that another worker of the fleet has, none, and one of another device.
    let declared = spec(&by_hand, 0);
    connection.spawn(&declared).unwrap();
    for (address, code) in [
        (Some("chat/blep/cpu/0"), ErrorCode::InUse),
        (None, ErrorCode::BadRequest),
        (Some("chat/blep/cuda:0/1"), ErrorCode::BadRequest),
    ] {
        let refused = adopt(&mut connection, of_hand(), "home", address).unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    let seen = || {
        let mut all = pool.workers().into_iter();
        all.find(|seen| seen.record.id == worker.id).unwrap()
    };
    assert_eq!(seen().record, worker);

    adopt(&mut connection, of_hand(), "home", Some("chat/blep/cpu/1")).unwrap();
    let adopted = seen();
    assert!(adopted.is_serving());
    assert_eq!(adopted.record.process, worker.process);
    let mut wanted = worker.spec.clone();
    wanted.fleet = Some(fleet("home"));
    wanted.address = Some("chat/blep/cpu/1".parse().unwrap());
    assert_eq!(adopted.record.spec_hash, wanted.hash());
    // It is the fleet's as if it had spawned it.
    assert_eq!(connection.spawn(&wanted).unwrap().id, worker.id);
    let refused = adopt(&mut connection, of_hand(), "lab", Some("x/blep/cpu/0")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotOwned);
    let gone = Subject::Worker("none".parse().unwrap());
    let refused = adopt(&mut connection, gone, "home", Some("x/blep/cpu/0")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotFound);
}
