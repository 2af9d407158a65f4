//! The command line: exit codes, help, what a person sees.

use std::process::Stdio;

use pool_core::observation::{DeviceInfo, ObservedModel};
use pool_core::worker::WorkerState;

use crate::util::{Pool, Worker, wait_for};

#[test]
fn usage_errors_exit_with_64_and_help_with_0() {
    let pool = Pool::with(Worker::Missing);
    for arguments in [
        &[][..],
        &["fly"],
        &["models"],
        &["models", "register", "m"],
        &["models", "register", "-m", "--source", "."],
        &["worker", "spawn", "gpu", "--model", "m"],
        &["worker", "spawn", "cpu", "--model", "m", "--slots", "0"],
        &["worker", "spawn", "cpu", "--model", "m", "--slots", "1025"],
        &["worker", "spawn", "cpu", "--model", "m", "--dtype", "f64"],
        &[
            "worker",
            "spawn",
            "cpu",
            "--model",
            "m",
            "--quantize",
            "q4_k",
        ],
    ] {
        let output = pool.run(arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
    for arguments in [
        &["--help"][..],
        &["worker", "spawn", "--help"],
        &["--version"],
    ] {
        assert!(!pool.ok(arguments).is_empty());
    }
    assert_eq!(
        pool.ok(&["--version"]),
        format!("rbee-hive {}\n", pool_core::VERSION)
    );
}

#[test]
fn a_pool_without_anything_says_so() {
    let pool = Pool::with(Worker::Missing);
    let text = pool.ok(&["status"]);
    assert!(text.starts_with("host "), "{text}");
    assert!(text.contains("\nDEVICE"), "{text}");
    assert!(!text.contains("WORKER"), "{text}");
    let devices: Vec<DeviceInfo> = pool.json(&["devices"]);
    assert_eq!(devices[0].device.to_string(), "cpu");
    let models: Vec<ObservedModel> = pool.json(&["models", "list"]);
    assert!(models.is_empty());
    assert_eq!(pool.ok(&["worker", "stop-all"]), "");
    // Installed below its own home, the hive knows its build.
    assert!(pool.observe().build.is_some());
}

#[test]
fn a_worker_goes_by_its_id_the_start_of_it_or_its_address() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let record = pool.connect().spawn(&crate::util::spec(&entry, 0)).unwrap();
    for name in [record.id.as_str(), "tiny-", "chat/blep/cpu/0"] {
        pool.ok(&["worker", "logs", name]);
    }
    pool.spawn_tiny();
    let error = pool.fails(&["worker", "stop", "tiny-"]);
    assert!(error.contains("tiny- could be each of tiny-"), "{error}");
    let error = pool.fails(&["worker", "stop", ""]);
    assert!(error.contains("there is no worker"), "{error}");
    let table = pool.ok(&["worker", "list"]);
    assert!(table.starts_with("WORKER "), "{table}");
    assert!(table.contains("home    chat/blep/cpu/0\n"), "{table}");
}

#[test]
fn an_interrupt_leaves_what_is_starting_and_exits_with_130() {
    let pool = Pool::with(Worker::gated());
    pool.register_tiny();
    let spawning = pool
        .command(&["worker", "spawn", "cpu", "--model", "tiny"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for("the process", || pool.workers().pop()?.record.process);
    let process = hive::process::identify(spawning.id()).unwrap();
    hive::process::signal(&process, hive::process::Signal::INT).unwrap();
    let output = spawning.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let worker = pool.workers().remove(0);
    assert!(worker.alive);
    assert_eq!(worker.record.state, WorkerState::Starting);
}
