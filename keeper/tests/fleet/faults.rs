//! Bad pools, bad files, bad luck: each a clear error, and nothing else is lost.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::{Desk, tiny};

const HERE: &str = "  here: { connect: local, devices: [cpu] }\n";
const ONE: &str = "  one: { connect: ssh://one, devices: [cpu] }\n";

#[test]
fn every_way_not_to_reach_a_pool_is_said_with_the_way_out() {
    let desk = Desk::new();
    let _unknown = desk.lab.server("unknown").unknown().start();
    let _refused = desk.lab.server("refused").refuse().start();
    // Accepts and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let down = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    desk.fleet(
        &format!(
            "{HERE}  unknown: {{ connect: ssh://unknown, devices: [cpu] }}\n  \
             refused: {{ connect: ssh://refused, devices: [cpu] }}\n  \
             silent: {{ connect: ssh://127.0.0.1:{port}, devices: [cpu] }}\n  \
             down: {{ connect: ssh://127.0.0.1:{down}, devices: [cpu] }}\n  \
             lost: {{ connect: ssh://no-such-host.invalid, devices: [cpu] }}\n"
        ),
        "'*/cpu'",
    );
    let planned = desk.rbee(&["plan", "--connect-timeout", "2"]).exits(4);
    for (pool, cause, help) in [
        ("unknown", "its host key is not known", "known_hosts"),
        ("refused", "login denied", "key"),
        ("silent", "no answer in time", ""),
        ("down", "connection refused", ""),
        ("lost", "no such host", ""),
    ] {
        let line = planned
            .out
            .lines()
            .position(|line| line.starts_with(&format!("unreachable: {pool}: {cause}")));
        let line = line.unwrap_or_else(|| panic!("no {pool}: {cause} in\n{}", planned.out));
        let way_out = planned.out.lines().nth(line + 1).unwrap();
        assert!(
            way_out.contains("help: ") && way_out.contains(help),
            "{pool}: {way_out}"
        );
    }
    // The one that answers is planned all the same.
    assert!(
        planned.out.contains("+ worker   chat/here/cpu/0"),
        "{}",
        planned.out
    );
}

#[test]
fn a_banner_and_a_home_with_a_space_are_no_trouble() {
    let desk = Desk::new();
    let noise = desk.path("noise.sh");
    fs::write(
        &noise,
        "echo 'Welcome to one!'; printf 'half a line'\nexec sh -c \"$SSH_ORIGINAL_COMMAND\"\n",
    )
    .unwrap();
    let server = desk
        .lab
        .server("one")
        .home("a home/with space")
        .shell(&format!("sh {}", noise.display()));
    let pool = server.start();
    desk.fleet(ONE, "one/cpu");
    desk.rbee(&["apply", "--yes"]).exits(0);
    assert!(pool.home().join("catalog.json").exists());
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    desk.rbee(&[
        "infer",
        "--worker",
        "chat",
        "--prompt",
        "What is the capital of France?",
    ])
    .exits(0)
    .says("Paris");
    desk.rbee(&["pool", "worker", "logs", "chat/one/cpu/0", "--pool", "one"])
        .exits(0);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_hive_for_another_machine_is_named_and_replaced() {
    let desk = Desk::new();
    let pool = desk.lab.sshd("one");
    desk.fleet(ONE, "one/cpu");
    desk.rbee(&["apply", "--yes"]).exits(0);
    // The same file as if built for another processor: two bytes of its ELF header.
    let hive = pool
        .home()
        .join("bin/current")
        .canonicalize()
        .unwrap()
        .join("rbee-hive");
    let mut program = fs::read(&hive).unwrap();
    let other: u16 = if std::env::consts::ARCH == "x86_64" {
        0xb7
    } else {
        0x3e
    };
    program[18..20].copy_from_slice(&other.to_le_bytes());
    fs::remove_file(&hive).unwrap();
    fs::write(&hive, program).unwrap();
    fs::set_permissions(&hive, fs::Permissions::from_mode(0o755)).unwrap();
    desk.rbee(&["plan"])
        .exits(0)
        .says("its hive is built for Linux")
        .says("plan again after this one");
    desk.rbee(&["pool", "status"])
        .exits(1)
        .says("`rbee apply` installs the right one");
    desk.rbee(&["apply", "--yes"]).exits(0);
    // The worker that ran all the while was taken up, not started twice.
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    let status = desk.rbee(&["status", "--json"]).exits(0).json();
    assert_eq!(
        status["pools"]["one"]["workers"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn a_build_for_another_machine_is_not_sent() {
    let desk = Desk::new();
    let _pool = desk.lab.sshd("one");
    desk.fleet(ONE, "one/cpu");
    let dist = desk.path("dist");
    let folder = dist.join(format!("{}-unknown-linux-gnu", std::env::consts::ARCH));
    fs::create_dir_all(&folder).unwrap();
    for name in ["rbee-hive", "llm-worker-rbee", "orchestratord"] {
        fs::write(folder.join(name), "#!/bin/sh\n").unwrap();
    }
    let dist = dist.to_str().unwrap();
    desk.rbee(&["plan", "--dist", dist])
        .exits(1)
        .says("blocked: one: rbee: ")
        .says("no program");
    desk.rbee(&["apply", "--yes", "--dist", dist])
        .exits(3)
        .says("Apply not complete");
}

#[test]
fn a_corrupt_catalog_is_named_and_the_other_pools_go_on() {
    let desk = Desk::new();
    let pool = desk.lab.sshd("one");
    desk.fleet(&format!("{HERE}{ONE}"), "'*/cpu'");
    fs::create_dir_all(pool.home()).unwrap();
    desk.rbee(&["apply", "--yes"]).exits(0);
    let catalog = pool.home().join("catalog.json");
    fs::write(&catalog, "{\"version\": 1, \"models\": {").unwrap();
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.write(&text.replace("on: ['*/cpu']", "on: ['*/cpu'], slots: 3"));
    desk.rbee(&["plan"])
        .exits(1)
        .says("unknown: one: ")
        .says("catalog.json:1:26 does not parse");
    desk.rbee(&["apply", "--yes"])
        .exits(3)
        .says("Apply not complete: 1 replaced.");
    assert_eq!(
        fs::read_to_string(&catalog).unwrap(),
        "{\"version\": 1, \"models\": {"
    );
}

#[test]
fn a_model_folder_without_a_tokenizer_is_a_mistake_of_the_file() {
    let desk = Desk::new();
    let folder = desk.path("model");
    fs::create_dir(&folder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(tiny().join(name), folder.join(name)).unwrap();
    }
    desk.fleet(HERE, "here/cpu");
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.write(&text.replace(tiny().to_str().unwrap(), "./model"));
    for command in ["validate", "plan", "apply"] {
        desk.rbee(&[command])
            .exits(1)
            .says("there is no tokenizer.json")
            .says("--> fleet.yaml:6:19")
            .says("help: a model's folder holds config.json, tokenizer.json and *.safetensors");
    }
}

#[test]
fn a_worker_that_dies_while_loading_is_reported_with_its_log() {
    let desk = Desk::new();
    let folder = desk.path("model");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let weights = folder.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    desk.fleet(HERE, "here/cpu");
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.write(&text.replace(tiny().to_str().unwrap(), "./model"));
    desk.rbee(&["apply", "--yes"])
        .exits(3)
        .says("model.safetensors")
        .says("Apply not complete: 1 installed, 1 copied")
        .says("`rbee apply` goes on from here");
    desk.rbee(&["status"]).says("chat/here/cpu/0");
    // Mended: the same command finishes the work.
    fs::write(&weights, &bytes).unwrap();
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_port_that_is_taken_is_not_used() {
    // Workers of other tests may hold some of them, and let them go meanwhile.
    let held: Vec<TcpListener> = (8001..8060)
        .filter_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
        .collect();
    assert!(!held.is_empty());
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    desk.rbee(&["apply", "--yes"]).exits(0);
    let status = desk.rbee(&["status", "--json"]).json();
    let listen = status["pools"]["here"]["workers"][0]["listen"]
        .as_str()
        .unwrap();
    let held: Vec<String> = held
        .iter()
        .map(|held| held.local_addr().unwrap().to_string())
        .collect();
    assert!(
        !held.iter().any(|held| held == listen),
        "{listen} is one of {held:?}"
    );
}

#[test]
fn a_disk_that_fills_while_copying_is_said_and_nothing_is_half_there() {
    let desk = Desk::new();
    let home = desk.path("small");
    fs::create_dir(&home).unwrap();
    // The binaries fit, the model does not.
    let size = ["rbee-hive", "llm-worker-rbee", "orchestratord"]
        .map(|name| fs::metadata(crate::program(name)).unwrap().len());
    let size = size.iter().sum::<u64>() + (2 << 20);
    let disk = SmallDisk::mount(&home, size);
    desk.fleet(HERE, "here/cpu");
    let applied: super::Ran = desk
        .command(&["apply", "--yes"])
        .env("RBEE_HOME", &disk.0)
        .output()
        .unwrap()
        .into();
    applied
        .exits(3)
        .says("here: copy tiny")
        .says("disk")
        .says("not done: here: spawn chat/here/cpu/0");
    let blobs = fs::read_dir(home.join("models/blobs")).unwrap();
    for blob in blobs {
        let blob = blob.unwrap();
        let digest = pool_core::digest::Sha256::of(fs::read(blob.path()).unwrap());
        assert_eq!(blob.file_name().to_str().unwrap(), digest.to_string());
    }
}

#[test]
fn on_a_full_disk_workers_stop_and_models_go() {
    let desk = Desk::new();
    let home = desk.path("small");
    fs::create_dir(&home).unwrap();
    let size = ["rbee-hive", "llm-worker-rbee", "orchestratord"]
        .map(|name| fs::metadata(crate::program(name)).unwrap().len());
    let disk = SmallDisk::mount(&home, size.iter().sum::<u64>() + (8 << 20));
    let rbee = |args: &[&str]| -> super::Ran {
        let mut command = desk.command(args);
        command.env("RBEE_HOME", &disk.0).output().unwrap().into()
    };
    let ways: [(&[&str], usize); 3] = [
        (&["pool", "worker", "stop-all"], 1),
        (&["destroy", "--yes"], 0),
        (&["apply", "--yes", "--allow-empty", "--prune-models"], 0),
    ];
    for (way, models) in ways {
        desk.fleet(HERE, "here/cpu");
        rbee(&["apply", "--yes"]).exits(0);
        assert_eq!(desk.workers().len(), 1);
        if way[0] == "apply" {
            desk.write(&format!("version: 1\nfleet: test\npools:\n{HERE}"));
        }
        let fill = home.join("fill");
        let mut file = fs::File::create(&fill).unwrap();
        let full = std::io::copy(&mut std::io::repeat(0), &mut file).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
        rbee(way).exits(0);
        let records = fs::read_dir(home.join("workers")).unwrap().count();
        assert_eq!((desk.workers().len(), records), (0, 0), "{way:?}");
        let blobs = fs::read_dir(home.join("models/blobs")).unwrap().count();
        assert_eq!(blobs > 0, models > 0, "{way:?}");
        fs::remove_file(fill).unwrap();
    }
}

/// A file system of a few megabytes.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path, bytes: u64) -> Self {
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "rbee-test"])
            .arg(at);
        assert!(
            mount.status().unwrap().success(),
            "mounting a tmpfs needs root"
        );
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status()
            .unwrap();
    }
}

/// Starts an apply and sends it this signal as soon as it says that it begins `action`.
fn apply_cut_at(desk: &Desk, action: &str, signal: &str) -> super::Ran {
    let mut child = desk.command(&["apply", "--yes"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let begun = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains(action) && line.ends_with("..."));
    assert!(begun, "`{action}` was never begun");
    let killed = Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(killed.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let output = child.wait_with_output().unwrap();
    let mut ran = super::Ran::from(output);
    ran.err = rest.join("\n");
    ran
}

#[test]
fn an_interrupted_apply_finishes_what_is_under_way_and_is_taken_up() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    apply_cut_at(&desk, "install", "INT")
        .exits(130)
        .says("what cannot be taken up later is finished first")
        .says("Apply interrupted: 1 installed.")
        .says("not begun: here: spawn chat/here/cpu/0");
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("Apply complete: 1 copied (2.6 MB), 1 spawned.");
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
}

#[test]
fn a_killed_apply_is_taken_up_and_nothing_runs_twice() {
    for action in ["install", "register", "copy", "spawn"] {
        let desk = Desk::new();
        let pool = desk.lab.sshd("one");
        desk.fleet(ONE, "one/cpu");
        assert_eq!(apply_cut_at(&desk, action, "KILL").code, -1);
        desk.rbee(&["apply", "--yes"]).exits(0);
        desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
        let status = desk.rbee(&["status", "--json"]).exits(0).json();
        assert_eq!(
            status["pools"]["one"]["workers"].as_array().map(Vec::len),
            Some(1),
            "{action}"
        );
        let records = fs::read_dir(pool.home().join("workers")).unwrap().count();
        assert_eq!((records, desk.workers().len()), (1, 1), "{action}");
    }
}
