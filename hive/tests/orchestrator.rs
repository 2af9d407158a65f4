//! The life of an orchestrator on a pool, and what it may not do to it.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};

use hive::process;
use pool_core::facts::{self, About, Fact};
use pool_core::name::FleetName;
use pool_core::observation::ObservedOrchestrator;
use pool_core::orchestrator::{ConfigFile, OrchestratorRecord, OrchestratorSpec, Settings};
use pool_core::rpc::{ErrorCode, Outcome, Request};
use pool_core::supply::Secret;
use pool_core::worker::{Supervise, WorkerState};

use crate::util::{Connection, Pool, Worker, spawn, spec as worker_spec, wait_for};

fn fleet() -> FleetName {
    "home".parse().unwrap()
}

/// On a port that nobody has now.
fn spec() -> OrchestratorSpec {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    OrchestratorSpec {
        fleet: fleet(),
        listen: listener.local_addr().unwrap(),
        supervise: Supervise::None,
        settings: Settings::default(),
        files: BTreeSet::new(),
    }
}

fn request(spec: &OrchestratorSpec) -> Request {
    let spec = Box::new(spec.clone());
    Request::StartOrchestrator { spec }
}

fn start(connection: &mut Connection, spec: &OrchestratorSpec) -> OrchestratorRecord {
    match connection.call(request(spec)).unwrap() {
        Outcome::Started(record) => record,
        other => panic!("{other:?}"),
    }
}

fn listens(listen: SocketAddr) -> bool {
    TcpStream::connect(listen).is_ok()
}

fn only(pool: &Pool) -> ObservedOrchestrator {
    pool.observe().orchestrators.remove(0)
}

#[test]
fn one_orchestrator_of_a_fleet_runs_and_goes_with_what_it_stores() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let mut spec = spec();
    let first = start(&mut connection, &spec);
    assert_eq!(first.state, WorkerState::Ready);
    assert!(only(&pool).is_serving() && only(&pool).build.is_some());
    assert_eq!(start(&mut connection, &spec), first);
    let store = pool.home.join("orchestrators/home");
    std::fs::write(store.join("tasks"), "kept").unwrap();

    spec.settings.queue = 7;
    let second = start(&mut connection, &spec);
    assert!(!process::is_alive(&first.process.unwrap()));
    assert!(process::is_alive(second.process.as_ref().unwrap()));
    assert!(store.join("tasks").exists());

    // A person who stops it leaves its tasks to the next.
    let said = pool.ok(&["orchestrator", "stop"]);
    assert_eq!(said, "stopped the orchestrator of home\n");
    assert!(!listens(spec.listen) && pool.observe().orchestrators.is_empty());
    assert!(store.join("tasks").exists());
    start(&mut connection, &spec);
    let stop = || Request::StopOrchestrator { fleet: fleet() };
    assert_eq!(connection.call(stop()).unwrap(), Outcome::Changed);
    assert!(!store.exists() && !listens(spec.listen));
    let error = connection.call(stop()).unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
}

#[test]
fn a_file_that_it_could_not_use_is_refused_and_the_one_before_stays() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let key = "ab".repeat(32);
    let good = format!("tenants: [{{ name: a, keys: [{key}] }}]");
    for (file, good, wrong, reason) in [
        (
            ConfigFile::Tenants,
            &*good,
            "tenants: [{ name: a, keys: [x] }]",
            "tenants.yaml:1:29: ",
        ),
        (
            ConfigFile::Policy,
            "fn admit(s, t) { true }",
            "fn admit(s, t",
            "policy.rhai:1:",
        ),
    ] {
        let mut give = |content: &str| {
            connection.call(Request::Configure {
                fleet: fleet(),
                file,
                content: Secret::new(content.to_owned()),
            })
        };
        assert_eq!(give(good).unwrap(), Outcome::Changed);
        let error = give(wrong).unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest);
        assert!(error.message.contains(reason), "{error}");
        let path = pool.home.join("orchestrators/home").join(file.file_name());
        assert_eq!(std::fs::read_to_string(path).unwrap(), good);
    }
}

#[test]
fn one_whose_process_does_not_answer_is_replaced() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let spec = spec();
    let first = start(&mut connection, &spec).process.unwrap();
    process::signal(&first, process::Signal::STOP).unwrap();
    let asked = connection.send(request(&spec));
    // It ends once it may go on.
    wait_for("the end to be asked for", || {
        let record: OrchestratorRecord = record(&pool);
        (record.state == WorkerState::Draining).then_some(())
    });
    process::signal(&first, process::Signal::CONT).unwrap();
    let Ok(Outcome::Started(second)) = connection.answer(asked) else {
        panic!("it was not started again")
    };
    assert_ne!(second.process.unwrap(), first);
    assert!(only(&pool).is_serving());
}

fn record(pool: &Pool) -> OrchestratorRecord {
    let text = std::fs::read(pool.home.join("orchestrators/home.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[test]
fn one_that_does_not_become_ready_is_reported_with_what_it_printed() {
    let pool = Pool::with(Worker::Missing);
    pool.script_orchestrator("echo no such luck; exit 3");
    let error = pool.connect().call(request(&spec())).unwrap_err();
    assert_eq!(error.code, ErrorCode::WorkerFailed);
    assert!(error.message.contains("\n  | no such luck"), "{error}");
    assert!(pool.ok(&["orchestrator", "logs"]).contains("no such luck"));
    let left = only(&pool);
    assert_eq!((left.alive, left.condition()), (false, "failed"));
}

#[test]
fn an_address_that_another_has_is_refused_before_anything_moves() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let mine = spec();
    let before = start(&mut connection, &mine);
    let refused = |connection: &mut Connection, spec: &OrchestratorSpec, why: &str| {
        let error = connection.call(request(spec)).unwrap_err();
        assert_eq!(error.code, ErrorCode::InUse);
        assert!(error.message.contains(why), "{error}");
    };
    let theirs = OrchestratorSpec {
        fleet: "lab".parse().unwrap(),
        ..mine.clone()
    };
    let why = "taken by the orchestrator of the fleet home";
    refused(&mut connection, &theirs, why);
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let moved = OrchestratorSpec {
        listen: taken.local_addr().unwrap(),
        ..mine
    };
    refused(&mut connection, &moved, "taken by another program");
    assert_eq!(only(&pool).record, before);
}

#[test]
fn a_start_that_is_cut_short_is_taken_up_and_nothing_runs_twice() {
    let pool = Pool::with(Worker::Missing);
    pool.script_orchestrator(r#"until [ -e "$GATE" ]; do sleep 0.01; done; exec "$REAL" "$@""#);
    let spec = spec();
    let mut cut = pool.connect();
    cut.send(request(&spec));
    let process = wait_for("the process", || record_of(&pool)?.process);
    cut.kill();
    // Killed before it could write the process down.
    let path = pool.home.join("orchestrators/home.json");
    let mut written = serde_json::to_value(record(&pool)).unwrap();
    written.as_object_mut().unwrap().remove("process");
    std::fs::write(&path, written.to_string()).unwrap();
    std::fs::write(pool.home.join("gate"), "").unwrap();
    let found = start(&mut pool.connect(), &spec);
    assert_eq!(found.process, Some(process));
}

fn record_of(pool: &Pool) -> Option<OrchestratorRecord> {
    let text = std::fs::read(pool.home.join("orchestrators/home.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

#[test]
fn what_a_plan_relied_on_is_compared_first() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let mut spec = spec();
    let none = |about| vec![Fact { about, was: None }];
    let absent = || none(About::Orchestrator);
    connection.call_expecting(absent(), request(&spec)).unwrap();
    let before = only(&pool).record;
    spec.settings.queue = 7;
    let stop = Request::StopOrchestrator { fleet: fleet() };
    for request in [request(&spec), stop] {
        let error = connection.call_expecting(absent(), request).unwrap_err();
        assert_eq!(error.code, ErrorCode::Stale);
    }
    assert_eq!(only(&pool).record, before);
    let was = Some(facts::orchestrator(&before));
    let about = About::Orchestrator;
    let here = vec![Fact { about, was }];
    connection.call_expecting(here, request(&spec)).unwrap();

    // The start has made the token that the link carries.
    let link = |orchestrator: Option<&str>| Request::Link {
        fleet: fleet(),
        orchestrator: orchestrator.map(|url| url.parse().unwrap()),
        token: None,
    };
    let error = connection
        .call_expecting(none(About::Link), link(None))
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::Stale);
    let was = Some(facts::link(&pool.observe().links[&fleet()]));
    let about = About::Link;
    let here = vec![Fact { about, was }];
    connection
        .call_expecting(here, link(Some("http://mac:1")))
        .unwrap();
    let led = pool.observe().links[&fleet()].orchestrator.clone();
    assert_eq!(led.unwrap().as_str(), "http://mac:1");
}

#[test]
fn a_worker_that_others_reach_has_a_token_to_ask_for() {
    let pool = Pool::with(Worker::Script("exit 3"));
    let entry = pool.register_tiny();
    let mut spec = worker_spec(&entry, 0);
    let mut connection = pool.connect();
    let canary = pool_core::worker::Canary::default();
    connection.call(spawn(&spec, canary.clone())).unwrap_err();
    assert!(pool.observe().links.is_empty(), "loopback needs none");
    // An address of every machine that is not loopback.
    spec.advertise = Some("0.0.0.0".parse().unwrap());
    connection.call(spawn(&spec, canary)).unwrap_err();
    let seen = pool.observe().links.remove(&fleet()).unwrap();
    assert_eq!(seen.orchestrator, None);
    let Ok(Outcome::Token(token)) = connection.call(Request::Token { fleet: fleet() }) else {
        panic!("no token")
    };
    assert_eq!(token.expose().len(), 64);
    let unlink = || Request::Unlink { fleet: fleet() };
    assert_eq!(connection.call(unlink()).unwrap(), Outcome::Changed);
    let error = connection.call(Request::Token { fleet: fleet() });
    assert_eq!(error.unwrap_err().code, ErrorCode::NotFound);
}
