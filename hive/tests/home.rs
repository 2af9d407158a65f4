//! Where a pool keeps its things, and what does not stay there for ever.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use pool_core::digest::Sha256;

use crate::util::{Pool, Worker, spec};

#[test]
fn a_home_that_cannot_be_one_is_refused_with_the_way_out() {
    let pool = Pool::with(Worker::Missing);
    let file = pool.scratch().join("file");
    std::fs::write(&file, "mine").unwrap();
    let below = file.join("rbee");
    for (variables, reason) in [
        (
            vec![],
            "neither RBEE_HOME nor HOME is set, or they are empty",
        ),
        (vec![("HOME", "")], "neither RBEE_HOME nor HOME is set"),
        (vec![("HOME", "a/home")], "is a relative path"),
        (
            vec![("RBEE_HOME", "a/home")],
            "home a/home is a relative path",
        ),
        (vec![("RBEE_HOME", file.to_str().unwrap())], "is no folder"),
        (vec![("RBEE_HOME", below.to_str().unwrap())], "is no folder"),
    ] {
        let mut command = pool.command(&["models", "catalog"]);
        command.env_clear().envs(variables.clone());
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{variables:?}: {error}");
        assert!(error.contains(reason), "{variables:?}: {error}");
        assert!(error.contains("help: let RBEE_HOME name"), "{error}");
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn builds_that_nothing_runs_from_are_kept_only_a_while() {
    let pool = Pool::new();
    let entry = pool.register_tiny();
    let bin = pool.home.join("bin");
    let own = pool.observe().build.unwrap().to_string();
    let mut connection = pool.connect();
    let kept = connection.spawn(&spec(&entry, 0)).unwrap();
    // The oldest is a worker's, the next one is current.
    let names: Vec<String> = (0..6).map(|n| Sha256::of([n]).to_string()).collect();
    for (name, age) in names.iter().zip((1..=6).rev()) {
        let folder = bin.join(name);
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("rbee-hive"), "").unwrap();
        let then = SystemTime::now() - Duration::from_hours(age);
        let opened = std::fs::File::open(&folder).unwrap();
        opened.set_modified(then).unwrap();
    }
    std::fs::write(bin.join("mine"), "").unwrap();
    pool.edit_record(&kept, |record| {
        let program = bin.join(&names[0]).join("llm-worker-rbee");
        record["program"] = program.to_str().unwrap().into();
    });
    let current = bin.join("current");
    std::fs::remove_file(&current).unwrap();
    std::os::unix::fs::symlink(&names[1], &current).unwrap();
    let gone = connection.spawn(&spec(&entry, 1)).unwrap();
    connection
        .call(pool_core::rpc::Request::Stop {
            worker: gone.id,
            owner: None,
            deadline_s: 10,
            for_spawn: false,
        })
        .unwrap();
    let left: BTreeSet<String> = bin
        .read_dir()
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut expected = BTreeSet::from([own, "current".into(), "mine".into()]);
    expected.extend([0, 1, 4, 5].map(|n| names[n].clone()));
    assert_eq!(left, expected);
}

#[test]
fn a_worker_that_fails_again_and_again_does_not_fill_the_disk_with_logs() {
    let pool = Pool::with(Worker::Script("echo no; exit 1"));
    let entry = pool.register_tiny();
    let mut connection = pool.connect();
    for _ in 0..14 {
        connection.spawn(&spec(&entry, 0)).unwrap_err();
    }
    let logs = pool.home.join("logs").read_dir().unwrap().count();
    assert_eq!(logs, 11);
}
