//! What a plan relied on is compared on the pool, where nothing moves in between.

use pool_core::digest::Sha256;
use pool_core::facts::{self, About, Fact};
use pool_core::model::CatalogEntry;
use pool_core::rpc::{ErrorCode, HiveError, Outcome, Request, Subject};
use pool_core::worker::{Canary, WorkerRecord};

use crate::util::{Pool, Worker, entry, spawn, spec};

fn model(entry: &CatalogEntry, was: Option<&CatalogEntry>) -> Vec<Fact> {
    let about = About::Model(entry.id.clone());
    let was = was.map(facts::model);
    vec![Fact { about, was }]
}

fn worker(record: &WorkerRecord) -> Vec<Fact> {
    let about = About::Worker(record.id.clone());
    let was = Some(facts::worker(record));
    vec![Fact { about, was }]
}

fn is_stale(result: Result<Outcome, HiveError>, what: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code, ErrorCode::Stale, "{error}");
    assert!(error.message.contains(what), "{error}");
    assert_eq!(error.help.as_deref(), Some("plan again"));
}

#[test]
fn a_model_that_changed_since_the_plan_is_left_as_it_is() {
    let pool = Pool::with(Worker::Missing);
    let (one, mut two) = (entry("m", &[("a", b"1")]), entry("m", &[("a", b"2")]));
    let register = |entry: &CatalogEntry| Request::Register {
        entry: Box::new(entry.clone()),
    };
    let mut connection = pool.connect();
    let absent = || model(&one, None);
    connection.call_expecting(absent(), register(&one)).unwrap();
    two.protect = true;
    is_stale(
        connection.call_expecting(absent(), register(&two)),
        "the model m",
    );
    let now = || pool.observe().models.remove(0).entry;
    assert_eq!(now().digest, one.digest);
    let here = model(&one, Some(&now()));
    connection.call_expecting(here, register(&two)).unwrap();
    assert_eq!(now().digest, two.digest);

    // Each way to touch it compares first; none of these did anything.
    let old = model(&one, Some(&one));
    let owner: pool_core::name::FleetName = "home".parse().unwrap();
    let id = &one.id;
    let before = now();
    for request in [
        Request::Fetch {
            model: id.clone(),
            peers: Vec::new(),
            hub: None,
            most_from_hub: None,
        },
        Request::Publish { model: id.clone() },
        Request::Unregister {
            model: id.clone(),
            owner: Some(owner.clone()),
        },
        Request::Protect {
            subject: Subject::Model(id.clone()),
            owner: owner.clone(),
            protect: false,
        },
        Request::Adopt {
            subject: Subject::Model(id.clone()),
            owner,
            address: None,
        },
    ] {
        let asked = format!("{request:?}");
        let error = connection.call_expecting(old.clone(), request).unwrap_err();
        assert_eq!(error.code, ErrorCode::Stale, "{asked}: {error}");
    }
    assert_eq!(now(), before);
    // What was uploaded meanwhile is what a plan may rely on.
    connection.upload(b"2").unwrap();
    let here = model(&two, Some(&before));
    let publish = Request::Publish { model: id.clone() };
    connection.call_expecting(here, publish).unwrap();
}

#[test]
fn a_worker_that_changed_since_the_plan_is_left_as_it_is() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let spec = spec(&entry, 0);
    let place = |was| {
        let about = About::Place(spec.address.clone().unwrap());
        vec![Fact { about, was }]
    };
    let request = || spawn(&spec, Canary::default());
    connection.call_expecting(place(None), request()).unwrap();
    is_stale(
        connection.call_expecting(place(None), request()),
        "what runs at chat/blep/cpu/0",
    );
    let record = pool.workers().remove(0).record;
    let (fleet, address) = (spec.fleet.clone().unwrap(), spec.address.clone().unwrap());
    let here = place(facts::place(&fleet, &address, [&record]));
    connection.call_expecting(here, request()).unwrap();
    assert_eq!(pool.worker_processes(), 1);

    let mut restarted = record.clone();
    restarted.process.as_mut().unwrap().pid += 1;
    let stop = || Request::Stop {
        worker: record.id.clone(),
        owner: Some(fleet.clone()),
        deadline_s: 10,
        for_spawn: true,
    };
    let protect = || Request::Protect {
        subject: Subject::Worker(record.id.clone()),
        owner: fleet.clone(),
        protect: true,
    };
    for request in [stop(), protect()] {
        let what = format!("the worker {}", record.id);
        is_stale(
            connection.call_expecting(worker(&restarted), request),
            &what,
        );
    }
    assert_eq!(pool.workers()[0].record, record);
    connection
        .call_expecting(worker(&record), protect())
        .unwrap();
    // Protected meanwhile: the plan to stop it did not know.
    is_stale(
        connection.call_expecting(worker(&record), stop()),
        record.id.as_str(),
    );
    let now = pool.workers().remove(0).record;
    connection.call_expecting(worker(&now), stop()).unwrap();
    assert_eq!(pool.worker_processes(), 0);
}

#[test]
fn a_build_that_changed_since_the_plan_is_noticed() {
    let pool = Pool::with(Worker::Missing);
    let model = entry("m", &[("a", b"a")]);
    let was = pool.observe().build;
    assert!(was.is_some());
    let mut connection = pool.connect();
    let mut register = || {
        let about = About::Programs;
        let entry = Box::new(model.clone());
        connection.call_expecting(vec![Fact { about, was }], Request::Register { entry })
    };
    register().unwrap();
    let current = pool.home.join("bin/current");
    std::fs::remove_file(&current).unwrap();
    let other = Sha256::of("another build").to_string();
    std::os::unix::fs::symlink(other, &current).unwrap();
    is_stale(register(), "the installed programs");
}
