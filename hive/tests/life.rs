//! The life of a worker, from the model's folder to its end.

use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;

use hive::process;
use pool_core::serving::Health;
use pool_core::weights::{Dtype, Quantization};
use pool_core::worker::{WorkerRecord, WorkerState};

use crate::util::{Pool, Worker, get, tiny_llama, wait_for};

#[test]
fn a_worker_lives_from_register_to_stop() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    assert!(entry.downloaded);
    assert!(pool.ok(&["models", "list"]).contains("tiny"));

    let record = pool.spawn_tiny();
    assert_eq!(record.state, WorkerState::Ready);
    let answer = get(&record, "/health");
    let health: Health = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(health.worker_id, record.id);
    assert_eq!(health.model_digest, Some(entry.digest));
    let observed = pool.observe();
    assert!(observed.workers[0].is_serving());
    assert!(observed.models[0].is_whole());

    // The canary was a real request: the worker logged it.
    assert!(
        pool.ok(&["worker", "logs", record.id.as_str()])
            .contains("canary")
    );
    pool.ok(&["worker", "stop", record.id.as_str()]);
    assert_eq!(pool.workers(), []);
    assert!(!process::is_alive(&record.process.unwrap()));
    // The log outlives the worker.
    assert!(
        pool.ok(&["worker", "logs", record.id.as_str()])
            .contains("canary")
    );

    pool.ok(&["models", "unregister", "tiny"]);
    assert!(pool.blobs().is_empty());
    assert!(pool.observe().models.is_empty());
}

#[test]
fn a_worker_keeps_its_weights_as_it_was_told_to() {
    let pool = Pool::new();
    pool.register_tiny();
    let plain = pool.spawn_tiny();
    assert_eq!(plain.spec.slots, pool_core::DEFAULT_SLOTS);
    let spawn = ["worker", "spawn", "cpu", "--model", "tiny"];
    let told: WorkerRecord =
        pool.json(&[&spawn[..], &["--dtype", "bf16", "--quantize", "q8_0"]].concat());
    assert_eq!(
        (told.spec.dtype, told.spec.quantize),
        (Dtype::Bf16, Some(Quantization::Q8_0))
    );
    assert_ne!(told.spec_hash, plain.spec_hash);
    let observed = pool.workers();
    assert!(
        observed
            .iter()
            .any(|worker| worker.record.spec == told.spec)
    );
    let weights = |record: &WorkerRecord| {
        let answer = get(record, "/health");
        let health: Health =
            serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        health.memory.weights
    };
    assert!(weights(&told) < weights(&plain) / 2);
}

/// A folder with what may never end in the place of a file, and with weights that are not whole.
#[test]
fn a_folder_that_holds_no_whole_model_is_refused_at_once() {
    let pool = Pool::new();
    let folder = pool.scratch().join("model");
    let refusal = |change: &dyn Fn(&std::path::Path)| {
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir(&folder).unwrap();
        for entry in tiny_llama().read_dir().unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        change(&folder);
        pool.fails(&[
            "models",
            "register",
            "m",
            "--source",
            folder.to_str().unwrap(),
        ])
    };
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let error = refusal(&|folder| {
            let path = folder.join(name);
            std::fs::remove_file(&path).unwrap();
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        });
        assert!(
            error.contains(name) && error.contains("not a regular file"),
            "{error}"
        );
    }
    let weights = "model.safetensors";
    let empty = refusal(&|folder| std::fs::write(folder.join(weights), "").unwrap());
    assert!(empty.contains("it is empty"), "{empty}");
    let shard = "model-00001-of-00001.safetensors";
    let alone =
        refusal(&|folder| std::fs::rename(folder.join(weights), folder.join(shard)).unwrap());
    assert!(alone.contains(shard), "{alone}");
    assert!(pool.blobs().is_empty());
}

#[test]
fn two_spawned_at_once_get_two_ports() {
    let pool = Pool::new();
    pool.register_tiny();
    let (one, two) = std::thread::scope(|scope| {
        let one = scope.spawn(|| pool.spawn_tiny());
        let two = scope.spawn(|| pool.spawn_tiny());
        (one.join().unwrap(), two.join().unwrap())
    });
    assert_ne!(one.listen, two.listen);
    assert_ne!(one.id, two.id);
    assert!(
        pool.workers()
            .iter()
            .all(pool_core::observation::ObservedWorker::is_serving)
    );
    let stopped: Vec<WorkerRecord> = pool.json(&["worker", "stop-all"]);
    assert_eq!(stopped.len(), 2);
    assert_eq!(pool.workers(), []);
}

#[test]
fn a_port_that_is_taken_is_passed_over() {
    // The first that nobody else has just now.
    let taken = (8001..).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let taken = taken.unwrap();
    let pool = Pool::new();
    pool.register_tiny();
    let record = pool.spawn_tiny();
    assert!(record.listen.port() >= 8001);
    assert_ne!(record.listen, taken.local_addr().unwrap());
    let port = record.listen.port().to_string();
    let error = pool.fails(&["worker", "spawn", "cpu", "--model", "tiny", "--port", &port]);
    assert!(error.contains("is taken"), "{error}");
}

#[test]
fn a_port_that_somebody_takes_while_the_worker_starts_is_given_up() {
    let pool = Pool::with(Worker::gated());
    pool.register_tiny();
    let spawning = pool
        .command(&["worker", "spawn", "cpu", "--model", "tiny", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let record = wait_for("the record", || pool.workers().pop().map(|w| w.record));
    let _thief = wait_for("the port", || TcpListener::bind(record.listen).ok());
    std::fs::write(pool.home.join("gate"), "").unwrap();
    let output = spawning.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let ready: WorkerRecord = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(ready.id, record.id);
    assert_ne!(ready.listen, record.listen);
    assert_eq!(pool.workers().len(), 1);
}

#[test]
fn a_worker_stays_when_the_hive_and_its_group_are_gone() {
    let pool = Pool::new();
    pool.register_tiny();
    let record = pool.spawn_tiny();
    let process = record.process.as_ref().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap();
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let pid = process.pid.to_string();
    // Group and session are its own, and there is no terminal.
    assert_eq!(fields[2..5], [pid.as_str(), pid.as_str(), "0"]);
    assert!(process::is_alive(process));
    let folder = format!("/proc/{pid}");
    let home = pool.home.canonicalize().unwrap();
    assert_eq!(std::fs::read_link(format!("{folder}/cwd")).unwrap(), home);
    let program = std::fs::read_link(format!("{folder}/exe")).unwrap();
    assert_eq!(program.to_str(), Some(record.program.as_str()));
    let input = std::fs::read_link(format!("{folder}/fd/0")).unwrap();
    assert_eq!(input.to_str(), Some("/dev/null"));
}

#[test]
fn a_worker_inherits_nothing_that_was_left_open() {
    let pool = Pool::new();
    pool.register_tiny();
    let lock = pool.scratch().join("a lock");
    // As `flock lock rbee apply` does it.
    let script = r#"exec 9>"$0"; exec "$@""#;
    let status = std::process::Command::new("sh")
        .args(["-c", script])
        .arg(&lock)
        .arg(&pool.hive)
        .args(["worker", "spawn", "cpu", "--model", "tiny"])
        .env("RBEE_HOME", &pool.home)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let pid = pool.workers()[0].record.process.as_ref().unwrap().pid;
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let open: Vec<_> = descriptors
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .collect();
    assert!(!open.is_empty());
    assert!(!open.contains(&lock), "{open:?}");
}

#[test]
fn logs_that_are_followed_end_with_the_worker() {
    let pool = Pool::new();
    pool.register_tiny();
    let record = pool.spawn_tiny();
    let following = pool
        .command(&["worker", "logs", "-f", record.id.as_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    pool.ok(&["worker", "stop", record.id.as_str()]);
    let output = following.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(!output.stdout.is_empty());
}

#[test]
fn logs_that_are_followed_end_with_their_reader() {
    let pool = Pool::new();
    pool.register_tiny();
    let record = pool.spawn_tiny();
    let mut following = pool
        .command(&["worker", "logs", "-f", record.id.as_str()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = following.stdout.take().unwrap();
    // All that the worker said is in the pipe with the first byte, and it says nothing more that would find the pipe closed.
    log.read_exact(&mut [0]).unwrap();
    drop(log);
    wait_for("the end of the command", || following.try_wait().unwrap());
    pool.ok(&["worker", "stop", record.id.as_str()]);
}

#[test]
fn a_worker_that_ignores_the_request_to_end_is_killed() {
    let script = "trap '' TERM; while :; do sleep 0.05; done";
    let pool = Pool::with(Worker::Script(script));
    pool.register_tiny();
    let mut spawning = pool
        .command(&["worker", "spawn", "cpu", "--model", "tiny"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let record = wait_for("the process", || {
        let record = pool.workers().pop()?.record;
        record.process.is_some().then_some(record)
    });
    pool.ok(&["worker", "stop", record.id.as_str(), "--deadline", "0"]);
    assert!(!process::is_alive(&record.process.unwrap()));
    assert_eq!(pool.workers(), []);
    // Whoever waited for it is told, and does not bring its record back.
    assert_eq!(spawning.wait().unwrap().code(), Some(1));
    assert_eq!(pool.workers(), []);
}
