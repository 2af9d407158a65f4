//! What goes wrong is said with its cause and the way out, and leaves nothing broken behind.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use pool_core::rpc::ErrorCode;
use pool_core::worker::WorkerState;

use crate::util::{Pool, Worker, entry, spec, tiny_llama, wait_for};

/// A copy of the tiny model that a test can spoil.
fn copy_of_tiny(pool: &Pool) -> std::path::PathBuf {
    let folder = pool.scratch().join("a model");
    std::fs::create_dir(&folder).unwrap();
    for file in tiny_llama().read_dir().unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.join(file.file_name())).unwrap();
    }
    folder
}

#[test]
fn a_corrupt_catalog_is_named_and_left_as_it_is() {
    let pool = Pool::with(Worker::Missing);
    pool.register_tiny();
    let path = pool.home.join("catalog.json");
    for (text, said) in [
        (
            "{\n  \"version\": 1, oops",
            "catalog.json:2:17 does not parse",
        ),
        ("{\"version\": 2}", "has version 2"),
    ] {
        std::fs::write(&path, text).unwrap();
        let source = tiny_llama();
        for arguments in [
            &["status"][..],
            &["models", "catalog"],
            &[
                "models",
                "register",
                "other",
                "--source",
                source.to_str().unwrap(),
            ],
            &["models", "unregister", "tiny"],
            &["worker", "spawn", "cpu", "--model", "tiny"],
        ] {
            let error = pool.fails(arguments);
            assert!(error.contains(said), "{arguments:?}: {error}");
            assert!(error.contains("help: it was left as it is"), "{error}");
        }
        let code = pool
            .connect()
            .register(&entry("m", &[("a", b"a")]))
            .unwrap_err()
            .code;
        assert_eq!(code, ErrorCode::Corrupt);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
    assert!(!pool.blobs().is_empty());
}

#[test]
fn a_corrupt_worker_record_is_named_and_left_as_it_is() {
    let pool = Pool::with(Worker::Missing);
    pool.register_tiny();
    let path = pool.home.join("workers/w.json");
    std::fs::write(&path, "{").unwrap();
    for arguments in [
        &["worker", "list"][..],
        &["status"],
        &["worker", "stop", "w"],
    ] {
        let error = pool.fails(arguments);
        assert!(
            error.contains("workers/w.json:1:1 does not parse"),
            "{error}"
        );
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "{");
}

#[test]
fn what_stands_under_another_name_is_not_believed() {
    let pool = Pool::new();
    pool.register_tiny();
    let record = pool.spawn_tiny();
    let own = pool.home.join(format!("workers/{}.json", record.id));
    let copy = pool.home.join("workers/copy.json");
    std::fs::copy(&own, &copy).unwrap();
    let error = pool.fails(&["worker", "stop", "copy"]);
    assert!(
        error.contains("workers/copy.json holds what belongs to"),
        "{error}"
    );
    std::fs::remove_file(copy).unwrap();
    let catalog = pool.home.join("catalog.json");
    let text = std::fs::read_to_string(&catalog).unwrap();
    let changed = text.replace("\"tiny\": {", "\"other\": {");
    assert_ne!(changed, text);
    std::fs::write(&catalog, changed).unwrap();
    let error = pool.fails(&["models", "unregister", "other"]);
    assert!(
        error.contains("catalog.json holds what belongs to tiny"),
        "{error}"
    );
    std::fs::write(&catalog, text).unwrap();
    pool.ok(&["worker", "stop", record.id.as_str()]);
}

#[test]
fn a_folder_that_is_no_model_is_refused_with_the_reason() {
    let pool = Pool::with(Worker::Missing);
    let folder = copy_of_tiny(&pool);
    let register = || {
        pool.fails(&[
            "models",
            "register",
            "m",
            "--source",
            folder.to_str().unwrap(),
        ])
    };
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    assert!(register().contains("config.json is not what a model has"));
    std::fs::remove_file(folder.join("tokenizer.json")).unwrap();
    let error = register();
    assert!(
        error.contains("a model is not a model: there is no tokenizer.json"),
        "{error}"
    );
    assert!(error.contains("help: a model is a folder"), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(register().contains("No such file"));
    assert!(!pool.home.join("catalog.json").exists());
}

#[test]
fn a_worker_that_dies_while_loading_is_reported_with_the_end_of_its_log() {
    let pool = Pool::new();
    let folder = copy_of_tiny(&pool);
    let broken = [&10_u64.to_le_bytes()[..], b"no weights"].concat();
    std::fs::write(folder.join("model.safetensors"), broken).unwrap();
    pool.ok(&[
        "models",
        "register",
        "broken",
        "--source",
        folder.to_str().unwrap(),
    ]);
    let error = pool.fails(&["worker", "spawn", "cpu", "--model", "broken"]);
    assert!(
        error.contains("(broken on cpu) did not become ready: it ended"),
        "{error}"
    );
    assert!(error.contains("\n  | "), "{error}");
    assert!(error.contains("model.safetensors"), "{error}");
    assert!(
        error.contains("help: the whole log: rbee-hive worker logs broken-"),
        "{error}"
    );

    let failed = pool.workers().remove(0);
    assert_eq!(failed.record.state, WorkerState::Failed);
    assert!(!failed.alive);
    assert!(pool.ok(&["worker", "list"]).contains("failed"));
    // The next attempt replaces the record.
    pool.fails(&["worker", "spawn", "cpu", "--model", "broken"]);
    let again = pool.workers();
    assert_eq!(again.len(), 1);
    assert_ne!(again[0].record.id, failed.record.id);
    pool.ok(&["worker", "stop", again[0].record.id.as_str()]);
    assert_eq!(pool.workers(), []);
}

#[test]
fn a_worker_that_never_answers_is_stopped_and_reported() {
    let pool = Pool::with(Worker::Script(
        "echo still thinking; while :; do sleep 0.05; done",
    ));
    pool.register_tiny();
    let error = pool.fails(&[
        "worker",
        "spawn",
        "cpu",
        "--model",
        "tiny",
        "--timeout",
        "1",
    ]);
    assert!(
        error.contains("it did not answer within 1 s\n  | still thinking"),
        "{error}"
    );
    let failed = pool.workers().remove(0);
    assert_eq!(failed.record.state, WorkerState::Failed);
    assert!(!failed.alive);
}

#[test]
fn a_worker_program_that_is_missing_or_cannot_run_is_named() {
    let pool = Pool::with(Worker::Missing);
    let entry = pool.register_tiny();
    let error = pool.fails(&["worker", "spawn", "cpu", "--model", "tiny"]);
    assert!(
        error.contains("there is no ") && error.contains("/llm-worker-rbee"),
        "{error}"
    );
    assert_eq!(pool.workers(), []);

    // As of another architecture.
    let program = pool
        .hive
        .canonicalize()
        .unwrap()
        .with_file_name("llm-worker-rbee");
    std::fs::write(&program, [0x7f, b'E', b'L', b'F', 0]).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, executable).unwrap();
    let error = pool.connect().spawn(&spec(&entry, 0)).unwrap_err();
    assert_eq!(error.code, ErrorCode::WorkerFailed);
    assert!(
        error.message.contains("it ended before it was ready"),
        "{error}"
    );
    assert!(error.message.contains(program.to_str().unwrap()), "{error}");
}

#[test]
fn a_device_that_the_pool_lacks_is_refused() {
    let pool = Pool::new();
    pool.register_tiny();
    let error = pool.fails(&["worker", "spawn", "cuda:7", "--model", "tiny"]);
    assert!(error.contains("this pool has no device cuda:7"), "{error}");
    let error = pool.fails(&["worker", "spawn", "cpu", "--model", "none"]);
    assert!(error.contains("the catalog has no model none"), "{error}");
    let error = pool.fails(&["worker", "stop", "none"]);
    assert!(error.contains("there is no worker none"), "{error}");
}

#[test]
fn content_that_does_not_fit_the_disk_is_refused_before_it_comes() {
    let pool = Pool::with(Worker::Missing);
    let mut model = entry("m", &[("a", b"a")]);
    model.files[0].file.size = 1 << 49;
    model.size_bytes = 1 << 49;
    let mut connection = pool.connect();
    connection.register(&model).unwrap();
    let id = connection.send(pool_core::rpc::Request::Upload {
        sha256: model.files[0].file.sha256,
        size: 1 << 49,
    });
    let error = connection.answer(id).unwrap_err();
    assert_eq!(error.code, ErrorCode::DiskFull);
    assert!(error.message.contains("562.9 TB needed, "), "{error}");
    // The connection goes on.
    connection.call(pool_core::rpc::Request::Observe).unwrap();
}

/// A real disk of one megabyte, in namespaces of its own; where the kernel refuses these to its
/// users, the test says so.
#[test]
fn a_disk_that_is_full_is_said_and_leaves_no_half_file() {
    let namespaces = ["--map-root-user", "--mount"];
    let mount = "mount -t tmpfs -o size=1m rbee";
    let pool = Pool::with(Worker::Missing);
    let disk = pool.scratch().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let inside = |script: &str| {
        let output = Command::new("unshare")
            .args(namespaces)
            .args(["sh", "-ec", &format!("{mount} \"$0\"; {script}")])
            .args([&disk, &pool.hive])
            .arg(tiny_llama())
            .env("RBEE_HOME", disk.join("home"))
            .output();
        output.ok()
    };
    if !inside("true").is_some_and(|output| output.status.success()) {
        eprintln!("not run: the kernel gives no namespaces to this user");
        return;
    }
    let register = r#""$1" models register tiny --source "$2""#;
    let output = inside(register).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("is full: 2.6 MB needed"), "{error}");
    assert!(error.contains("help: free some space"), "{error}");

    // Full to the last byte, where the system itself refuses; afterwards all is as it was.
    let script = format!(
        r#""$1" models catalog >&2; mkdir -p "$RBEE_HOME"; cat /dev/zero > "$0/fill" 2>/dev/null || true;
        {register} || echo "exit $?"; ls -A "$RBEE_HOME"; rm "$0/fill"; "$1" models catalog"#
    );
    let output = inside(&script).unwrap();
    let (said, error) = (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert!(output.status.success(), "{error}");
    assert!(said.starts_with("exit 1\n"), "{said}");
    assert!(!said.contains(".tmp-"), "{said}");
    assert!(error.contains("is full: 0 B free"), "{error}");
}

#[test]
fn a_killed_hive_leaves_a_worker_that_the_next_one_takes_up() {
    for forget_process in [false, true] {
        let pool = Pool::with(Worker::gated());
        let entry = pool.register_tiny();
        let mut connection = pool.connect();
        connection.send(pool_core::rpc::Request::Spawn {
            spec: Box::new(spec(&entry, 0)),
            canary: pool_core::worker::Canary::default(),
            protect: false,
        });
        let record = wait_for("the process", || {
            let record = pool.workers().pop()?.record;
            record.process.is_some().then_some(record)
        });
        connection.kill();
        if forget_process {
            // As if it had been killed between starting the process and writing it down.
            pool.edit_record(&record, |record| {
                record.as_object_mut().unwrap().remove("process");
            });
        }
        let left = pool.workers().remove(0);
        assert!(left.alive);
        assert_eq!(left.record.state, WorkerState::Starting);

        let mut next = pool.connect();
        let id = next.send(pool_core::rpc::Request::Spawn {
            spec: Box::new(spec(&entry, 0)),
            canary: pool_core::worker::Canary::default(),
            protect: false,
        });
        std::fs::write(pool.home.join("gate"), "").unwrap();
        next.answer(id).unwrap();
        let taken_up = pool.workers();
        assert_eq!(taken_up.len(), 1);
        assert!(taken_up[0].is_serving());
        // Unless another test's worker took its port: then it ended, and there was none to take up.
        let printed = std::fs::read_to_string(&record.log).unwrap();
        if !printed.contains("Address already in use") {
            assert_eq!(taken_up[0].record.id, record.id);
            assert_eq!(taken_up[0].record.process, record.process);
        }
    }
}

#[test]
fn wherever_the_hive_is_killed_nothing_runs_twice_and_nothing_is_lost() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let request = || pool_core::rpc::Request::Spawn {
        spec: Box::new(spec(&entry, 0)),
        canary: pool_core::worker::Canary::default(),
        protect: false,
    };
    for moment in 0..40 {
        let mut connection = pool.connect();
        connection.send(request());
        // Not a wait for something: the moment at which it is killed.
        std::thread::sleep(Duration::from_micros(moment * 500));
        connection.kill();
        let mut next = pool.connect();
        next.call(request()).unwrap();
        let workers = pool.workers();
        assert_eq!(workers.len(), 1, "{moment}");
        assert!(workers[0].is_serving(), "{moment}");
        assert_eq!(pool.worker_processes(), 1, "{moment}");
        pool.ok(&["worker", "stop-all"]);
        assert_eq!(pool.worker_processes(), 0, "{moment}");
    }
}

#[test]
fn what_a_killed_start_left_without_a_process_is_cleared() {
    let pool = Pool::with(Worker::Script("exit 1"));
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    connection.spawn(&spec(&entry, 0)).unwrap_err();
    let record = pool.workers().remove(0).record;
    pool.edit_record(&record, |record| {
        record["state"] = "starting".into();
        record.as_object_mut().unwrap().remove("process");
    });
    assert!(!pool.workers()[0].alive);
    connection.spawn(&spec(&entry, 0)).unwrap_err();
    let ids: Vec<_> = pool.workers().into_iter().map(|w| w.record.id).collect();
    assert_eq!(ids.len(), 1);
    assert_ne!(ids[0], record.id);
}

#[test]
fn a_home_is_private_and_observing_makes_none() {
    let pool = Pool::with(Worker::Missing);
    let home = pool.scratch().join("not yet");
    let run = |arguments: &[&str]| {
        pool.command(arguments)
            .env("RBEE_HOME", &home)
            .status()
            .unwrap()
    };
    assert!(run(&["status"]).success());
    assert!(!Path::new(&home).exists());
    assert!(
        run(&[
            "models",
            "register",
            "tiny",
            "--source",
            tiny_llama().to_str().unwrap()
        ])
        .success()
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&home.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
}
