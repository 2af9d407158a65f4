//! The main way: apply, ask, apply again, change, destroy.

use std::fs;

use super::{Desk, recorded_pid};

#[test]
fn a_local_fleet_is_applied_asked_and_destroyed() {
    let desk = Desk::new();
    desk.fleet("  here: { connect: local, devices: [cpu] }\n", "here/cpu");
    desk.rbee(&["plan", "--detailed-exitcode"])
        .exits(2)
        .says("Plan: 1 to install, 1 to copy (2.6 MB), 1 to spawn.");
    assert!(!desk.home().exists(), "a plan made something");
    desk.rbee(&["apply"])
        .exits(1)
        .says("`--yes` goes on without asking");
    assert!(!desk.home().exists(), "a refused apply made something");
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("Apply complete: 1 installed, 1 copied (2.6 MB), 1 spawned.");
    desk.rbee(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("No changes");
    let asked = desk
        .rbee(&[
            "infer",
            "--worker",
            "chat",
            "--prompt",
            "What is the capital of France?",
        ])
        .exits(0);
    assert_eq!(asked.out, "Paris\n");
    assert!(asked.err.contains("tok/s, EOS"), "{}", asked.err);
    let asked = desk
        .rbee(&[
            "infer",
            "--model",
            "tiny",
            "--prompt",
            "What is 2 + 3?",
            "--json",
        ])
        .exits(0);
    assert_eq!(asked.json()["text"], "5");
    assert_eq!(asked.json()["end"]["stop_reason"], "EOS");

    let status = desk.rbee(&["status", "--json"]).exits(0).json();
    let worker = &status["pools"]["here"]["workers"][0];
    assert_eq!(
        (worker["address"].as_str(), worker["state"].as_str()),
        (Some("chat/here/cpu/0"), Some("ready"))
    );
    desk.rbee(&["status"])
        .exits(0)
        .says("chat/here/cpu/0  here  ready");

    desk.rbee(&["destroy", "--yes"])
        .exits(0)
        .says("Destroy complete: 1 stopped, 1 removed.");
    desk.rbee(&["destroy", "--yes"])
        .exits(0)
        .says("nothing of fleet test is there");
    let left = desk.rbee(&["status", "--json"]).exits(1).json();
    assert_eq!(
        left["pools"]["here"]["workers"].as_array().map(Vec::len),
        Some(0)
    );
    let blobs = fs::read_dir(desk.home().join("models/blobs"))
        .unwrap()
        .count();
    assert_eq!(blobs, 0, "content of a destroyed fleet is left");
}

#[test]
fn one_local_and_three_ssh_pools_converge_and_a_dead_one_stops_nobody() {
    let desk = Desk::new();
    let pools = ["one", "two", "three"].map(|name| desk.lab.sshd(name));
    let fleet = "  here: { connect: local, devices: [cpu] }\n  one: { connect: ssh://one, devices: [cpu] }\n  \
                 two: { connect: ssh://two, devices: [cpu] }\n  three: { connect: ssh://three, devices: [cpu] }\n";
    desk.fleet(fleet, "'*/cpu'");
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("4 installed, 4 copied (10.4 MB), 4 spawned.");
    desk.rbee(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("No changes");
    for pool in ["here", "one", "two", "three"] {
        let worker = format!("chat/{pool}/cpu/0");
        let asked = desk.rbee(&[
            "infer",
            "--worker",
            &worker,
            "--prompt",
            "What is the capital of France?",
        ]);
        assert_eq!(asked.exits(0).out, "Paris\n", "{pool}");
    }
    // One connection a pool, for all actions of a run and for the runs after it.
    let logins = pools[0].log().matches("Accepted publickey").count();
    assert_eq!(logins, 1, "apply, plan and infer:\n{}", pools[0].log());

    pools[1].kill();
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.write(&text.replace("on: ['*/cpu']", "on: ['*/cpu'], slots: 2"));
    let applied = desk
        .rbee(&["apply", "--yes"])
        .exits(4)
        .says("unreachable: two: connection refused");
    assert!(
        applied.out.contains("Apply not complete: 3 replaced."),
        "{}{}",
        applied.out,
        applied.err
    );
    desk.rbee(&["plan"])
        .exits(4)
        .says("No changes: nothing else of fleet test is to be done.");
    let status = desk.rbee(&["status", "--json"]).exits(4).json();
    for pool in ["here", "one", "three"] {
        let workers = status["pools"][pool]["workers"].as_array().unwrap();
        let slots: Vec<_> = workers.iter().map(|worker| &worker["slots"]).collect();
        assert_eq!(slots, [2], "{pool}");
    }
    assert_eq!(status["pools"]["two"]["state"], "unknown");
    // The dead pool's worker was not touched: it serves on.
    let records = fs::read_dir(pools[1].home().join("workers")).unwrap();
    let alive: Vec<_> = records
        .filter_map(|entry| recorded_pid(&entry.unwrap().path()))
        .collect();
    assert_eq!(alive.len(), 1);
}

#[test]
fn what_the_file_no_longer_names_goes_and_what_others_own_stays() {
    let desk = Desk::new();
    let here = "  here: { connect: local, devices: [cpu] }\n";
    desk.fleet(here, "here/cpu");
    desk.rbee(&["apply", "--yes"]).exits(0);
    // By hand, and by another fleet with the same pool.
    desk.rbee(&["pool", "worker", "spawn", "cpu", "--model", "tiny"])
        .exits(0);
    let mine = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    fs::write(
        desk.path("other.yaml"),
        mine.replace("fleet: test", "fleet: other"),
    )
    .unwrap();
    desk.rbee(&["-f", "other.yaml", "plan"])
        .exits(0)
        .says("Plan: 1 to spawn.");
    desk.rbee(&["-f", "other.yaml", "apply", "--yes"]).exits(0);

    desk.write(&format!("version: 1\nfleet: test\npools:\n{here}"));
    desk.rbee(&["apply", "--yes"])
        .exits(1)
        .says("`--allow-empty` goes on");
    desk.rbee(&["apply", "--yes", "--allow-empty"])
        .exits(0)
        .says("Apply complete: 1 stopped.");
    let status = desk.rbee(&["status", "--json"]).exits(0).json();
    let workers = status["pools"]["here"]["workers"].as_array().unwrap();
    let mut owners: Vec<_> = workers
        .iter()
        .map(|worker| worker["fleet"].as_str().unwrap_or("(by hand)"))
        .collect();
    owners.sort_unstable();
    assert_eq!(owners, ["(by hand)", "other"]);
    // The files serve on for the others: they are not pruned from under them.
    desk.rbee(&["plan", "--prune-models"])
        .exits(0)
        .says("model tiny stays on here");
    desk.rbee(&[
        "-f",
        "other.yaml",
        "infer",
        "--worker",
        "chat",
        "--prompt",
        "What is the capital of France?",
    ])
    .exits(0)
    .says("Paris");
    desk.rbee(&["-f", "other.yaml", "destroy", "--yes"])
        .exits(0);
    desk.rbee(&["pool", "worker", "stop-all", "--pool", "here"])
        .exits(0);
}

#[test]
fn an_upgrade_never_kills_a_running_worker() {
    let desk = Desk::new();
    let pool = desk.lab.sshd("one");
    desk.fleet("  one: { connect: ssh://one, devices: [cpu] }\n", "one/cpu");
    desk.rbee(&["apply", "--yes"]).exits(0);
    let before = desk.rbee(&["status", "--json"]).json();
    // Another build: the same programs with a byte behind them, which the loader does not read.
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let dist = desk.path("dist");
    fs::create_dir_all(dist.join(&target)).unwrap();
    for name in ["rbee-hive", "llm-worker-rbee", "orchestratord"] {
        let mut program = fs::read(crate::program(name)).unwrap();
        program.push(0);
        let to = dist.join(&target).join(name);
        fs::write(&to, program).unwrap();
    }
    let dist = dist.to_str().unwrap();
    desk.rbee(&["plan", "--dist", dist])
        .exits(0)
        .says("~ install")
        .says("Plan: 1 to install.");
    desk.rbee(&["apply", "--yes", "--dist", dist])
        .exits(0)
        .says("Apply complete: 1 installed.");
    desk.rbee(&["plan", "--dist", dist, "--detailed-exitcode"])
        .exits(0);
    let after = desk.rbee(&["status", "--json"]).json();
    let worker =
        |status: &serde_json::Value| status["pools"]["one"]["workers"][0]["process"].clone();
    assert_eq!(worker(&before), worker(&after));
    assert_ne!(
        before["pools"]["one"]["build"],
        after["pools"]["one"]["build"]
    );
    desk.rbee(&[
        "infer",
        "--worker",
        "chat",
        "--prompt",
        "What is the capital of France?",
    ])
    .exits(0)
    .says("Paris");
    drop(pool);
}
