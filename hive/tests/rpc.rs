//! The protocol over a real pipe to a real hive.

use std::process::Stdio;

use hive::process;
use pool_core::rpc::{ErrorCode, Event, Outcome, Request, Stream};
use pool_core::worker::WorkerState;

use crate::util::{Pool, Worker, entry, spec, wait_for};

fn command(argv: &[&str]) -> Request {
    Request::Command {
        argv: argv.iter().map(|&word| word.into()).collect(),
        access: pool_core::supply::HubAccess::default(),
    }
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let pool = Pool::with(Worker::Missing);
    let content: Vec<u8> = (0..1_000_000u32).flat_map(u32::to_le_bytes).collect();
    let model = entry("m", &[("weights", &content)]);
    let mut connection = pool.connect();
    connection.register(&model).unwrap();
    let (_, offset) = connection.announce(&content);
    assert_eq!(offset, 0);
    connection.write(&content[..3_000_000]);
    // The input ends within the content.
    assert_eq!(connection.close().code(), Some(1));

    let mut connection = pool.connect();
    let (id, offset) = connection.announce(&content);
    assert_eq!(offset, 3_000_000);
    connection.write(&content[3_000_000..]);
    assert_eq!(connection.answer(id).unwrap(), Outcome::Stored);
    connection.publish(&model).unwrap();
    // What is there is not sent again.
    let (id, offset) = connection.announce(&content);
    assert_eq!(offset, content.len() as u64);
    assert_eq!(connection.answer(id).unwrap(), Outcome::Stored);
    assert_eq!(connection.close().code(), Some(0));
}

#[test]
fn wrong_bytes_are_dropped_and_the_connection_goes_on() {
    let pool = Pool::with(Worker::Missing);
    let model = entry("m", &[("a", b"right")]);
    let mut connection = pool.connect();
    connection.register(&model).unwrap();
    let (id, _) = connection.announce(b"right");
    connection.write(b"wrong");
    assert_eq!(
        connection.answer(id).unwrap_err().code,
        ErrorCode::WrongContent
    );
    let (id, offset) = connection.announce(b"right");
    assert_eq!(offset, 0);
    connection.write(b"right");
    assert_eq!(connection.answer(id).unwrap(), Outcome::Stored);
    // Content that no model has is not taken.
    let id = connection.send(Request::Upload {
        sha256: pool_core::digest::Sha256::of("other"),
        size: 5,
    });
    assert_eq!(connection.answer(id).unwrap_err().code, ErrorCode::NotFound);
    connection.publish(&model).unwrap();
}

#[test]
fn the_same_content_from_two_sides_is_stored_once() {
    let pool = Pool::with(Worker::Missing);
    let model = entry("m", &[("a", b"content")]);
    let (mut one, mut two) = (pool.connect(), pool.connect());
    one.register(&model).unwrap();
    let (id, _) = one.announce(b"content");
    one.write(b"con");
    let waiting = two.send(Request::Upload {
        sha256: model.files[0].file.sha256,
        size: 7,
    });
    one.write(b"tent");
    assert_eq!(one.answer(id).unwrap(), Outcome::Stored);
    assert_eq!(two.event(waiting), Some(Event::Send { offset: 7 }));
    assert_eq!(two.answer(waiting).unwrap(), Outcome::Stored);
}

#[test]
fn noise_is_answered_and_the_next_call_is_read() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    connection.write(b"\n  \n{not json\n\xff\xfe\n");
    for _ in 0..2 {
        assert_eq!(
            connection.answer(0).unwrap_err().code,
            ErrorCode::BadRequest
        );
    }
    connection.write(b"{\"id\":77,\"method\":\"fly\"}\n");
    let error = connection.answer(77).unwrap_err();
    assert!(error.message.contains("unknown variant `fly`"), "{error}");
    assert!(error.help.is_some());
    assert!(matches!(
        connection.call(Request::Observe),
        Ok(Outcome::Observed(_))
    ));
}

#[test]
fn calls_run_at_the_same_time() {
    let pool = Pool::with(Worker::gated());
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let spawn = connection.send(Request::Spawn {
        spec: Box::new(spec(&entry, 0)),
        canary: pool_core::worker::Canary::default(),
        protect: false,
    });
    wait_for("the record", || pool.workers().pop());
    for _ in 0..20 {
        let observed = connection.call(Request::Observe).unwrap();
        let Outcome::Observed(observed) = observed else {
            panic!("{observed:?}")
        };
        assert_eq!(observed.workers[0].record.state, WorkerState::Starting);
    }
    std::fs::write(pool.home.join("gate"), "").unwrap();
    let Outcome::Spawned(record) = connection.answer(spawn).unwrap() else {
        panic!()
    };
    assert_eq!(record.state, WorkerState::Ready);
}

#[test]
fn the_same_worker_asked_for_twice_is_started_once() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let request = || Request::Spawn {
        spec: Box::new(spec(&entry, 0)),
        canary: pool_core::worker::Canary::default(),
        protect: false,
    };
    let ids = [connection.send(request()), connection.send(request())];
    let records = ids.map(|id| connection.answer(id).unwrap());
    assert_eq!(records[0], records[1]);
    // Also when it is ready since long.
    assert_eq!(connection.call(request()).unwrap(), records[0]);
    assert_eq!(pool.workers().len(), 1);
    // Another spec at the same address is another worker; the first goes when the plan says so.
    let mut changed = spec(&entry, 0);
    changed.slots = 2;
    connection.spawn(&changed).unwrap();
    assert_eq!(pool.workers().len(), 2);
}

#[test]
fn a_worker_is_stopped_only_for_its_owner() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    let record = connection.spawn(&spec(&entry, 0)).unwrap();
    let stop = |owner: &str| Request::Stop {
        worker: record.id.clone(),
        owner: Some(owner.parse().unwrap()),
        deadline_s: 10,
        for_spawn: false,
    };
    let refused = connection.call(stop("lab")).unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotOwned);
    assert!(pool.workers()[0].is_serving());
    let Outcome::Stopped(stopped) = connection.call(stop("home")).unwrap() else {
        panic!()
    };
    assert_eq!(stopped.state, WorkerState::Stopped);
    assert_eq!(
        connection.call(stop("home")).unwrap_err().code,
        ErrorCode::NotFound
    );
    let by_hand = pool.spawn_tiny();
    let stop = Request::Stop {
        worker: by_hand.id,
        owner: Some("home".parse().unwrap()),
        deadline_s: 10,
        for_spawn: false,
    };
    let refused = connection.call(stop).unwrap_err();
    assert!(refused.message.contains("belongs to a person"), "{refused}");
}

#[test]
fn a_command_gives_its_lines_and_its_exit_code() {
    let pool = Pool::with(Worker::Missing);
    let mut connection = pool.connect();
    let id = connection.send(command(&["models", "unregister", "none"]));
    let Some(Event::Output { stream, line }) = connection.event(id) else {
        panic!()
    };
    assert_eq!(stream, Stream::Stderr);
    assert_eq!(line, "error: the catalog has no model none");
    assert_eq!(connection.answer(id).unwrap(), Outcome::Exit(1));
    let usage = connection.call(command(&["fly"])).unwrap();
    assert_eq!(usage, Outcome::Exit(64));
    let id = connection.send(command(&["--version"]));
    let Some(Event::Output { stream, line }) = connection.event(id) else {
        panic!()
    };
    assert_eq!(stream, Stream::Stdout);
    assert_eq!(line, format!("rbee-hive {}", pool_core::VERSION));
    assert_eq!(connection.answer(id).unwrap(), Outcome::Exit(0));
}

#[test]
fn the_end_of_the_input_ends_the_hive_and_its_commands_but_no_worker() {
    let pool = Pool::with(Worker::gated());
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    connection.send(Request::Spawn {
        spec: Box::new(spec(&entry, 0)),
        canary: pool_core::worker::Canary::default(),
        protect: false,
    });
    let record = wait_for("the process", || {
        let record = pool.workers().pop()?.record;
        record.process.is_some().then_some(record)
    });
    connection.send(command(&["worker", "logs", "-f", record.id.as_str()]));
    let argv = ["worker", "logs", "-f", record.id.as_str()].map(Into::into);
    let following = wait_for("the command", || process::find(&argv));
    assert_eq!(connection.close().code(), Some(0));
    wait_for("the end of the command", || {
        (!process::is_alive(&following)).then_some(())
    });
    let left = pool.workers().remove(0);
    assert!(left.alive);
    assert_eq!(left.record.state, WorkerState::Starting);
}

#[test]
fn a_reader_that_has_left_ends_the_hive() {
    let pool = Pool::with(Worker::Missing);
    let mut child = pool
        .command(&["rpc"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    let _ = std::io::Write::write_all(&mut stdin, b"{\"id\":1,\"method\":\"observe\"}\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
