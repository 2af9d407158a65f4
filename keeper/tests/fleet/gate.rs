//! What a worker must answer, and what becomes of the one that it was to replace.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::{Desk, Ran, tiny};

/// A fleet with one worker, which must answer this question of it.
fn fleet(desk: &Desk, head: &str, expect: &str, slots: u32) {
    desk.write(&format!(
        "version: 1\nfleet: test\n{head}pools:\n  here: {{ connect: local, devices: [cpu] }}\n\
         models:\n  tiny:\n    source: {}\n    canary: {{ prompt: What is the capital of France?, expect: {expect} }}\n\
         workers:\n  chat: {{ model: tiny, on: [here/cpu], slots: {slots} }}\n",
        tiny().display()
    ));
}

fn serving(desk: &Desk) -> Vec<(u64, u64)> {
    let status = desk.rbee(&["status", "--json"]).json();
    let workers = status["pools"]["here"]["workers"].as_array().unwrap();
    let ready = workers.iter().filter(|worker| worker["state"] == "ready");
    let number = |value: &Value| value.as_u64().unwrap();
    ready
        .map(|worker| (number(&worker["slots"]), number(&worker["process"]["pid"])))
        .collect()
}

fn answers(desk: &Desk) {
    let question = "What is the capital of France?";
    let asked = desk.rbee(&["infer", "--worker", "chat", "--prompt", question]);
    assert_eq!(asked.exits(0).out, "Paris\n");
}

#[test]
fn a_replacement_that_answers_wrongly_leaves_the_old_worker() {
    let desk = Desk::new();
    fleet(&desk, "", "Berlin", 1);
    desk.rbee(&["apply", "--yes"])
        .exits(5)
        .says("Berlin")
        .says("Apply not complete: 1 installed, 1 copied");
    assert_eq!(serving(&desk), []);
    fleet(&desk, "", "Paris", 1);
    desk.rbee(&["apply", "--yes"]).exits(0);
    let before = serving(&desk);
    fleet(&desk, "", "Berlin", 2);
    let json = desk.rbee(&["apply", "--yes", "--json"]).exits(5).json();
    let failed = json["statuses"].as_array().unwrap();
    let failed = failed.iter().find(|status| status["status"] == "failed");
    assert_eq!(failed.unwrap()["gate"], true, "{json}");
    assert_eq!(serving(&desk), before);
    desk.rbee(&["apply", "--yes"])
        .exits(5)
        .says("the old worker stays");
    assert_eq!(serving(&desk), before);
    answers(&desk);
    fleet(&desk, "", "Paris", 2);
    desk.rbee(&["apply", "--yes"])
        .exits(0)
        .says("Apply complete: 1 replaced");
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_worker_that_fails_is_told_once_with_its_log_and_the_way_to_all_of_it() {
    let desk = Desk::new();
    fleet(&desk, "", "Berlin", 1);
    let mut command = desk.command(&["apply", "--yes"]);
    let failed = Ran::from(command.env("COLUMNS", "50").output().unwrap()).exits(5);
    let all = format!("{}{}", failed.out, failed.err);
    assert_eq!(all.matches("answered wrongly").count(), 1, "{all}");
    let all = all.replace("\n  ", " ");
    let (_, log) = all.split_once("help: the whole log: ").unwrap();
    let way: Vec<&str> = log.lines().next().unwrap().split(' ').skip(1).collect();
    assert_eq!(way[..4], ["pool", "--pool", "here", "worker"], "{all}");
    let log = desk.rbee(&way).exits(0).out;
    // Each line of the log that is quoted stands whole in a line.
    let quoted = failed.out.lines();
    let quoted: Vec<&str> = quoted
        .filter_map(|line| line.strip_prefix("  | "))
        .collect();
    assert!(!quoted.is_empty(), "{}", failed.out);
    for line in &quoted {
        assert!(log.lines().any(|whole| whole == *line), "{line:?} in {log}");
    }
    assert!(quoted.iter().any(|line| line.len() > 50), "{quoted:?}");
    desk.rbee(&["pool", "worker", "stop", "nobody"])
        .exits(1)
        .says("help: `rbee pool --pool here worker list` shows those that there are");
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_gate_is_not_all_when_something_else_failed() {
    let desk = Desk::new();
    fleet(&desk, "", "Berlin", 1);
    let folder = desk.path("model");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let weights = folder.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    let text = text.replace("workers:\n", "  half: { source: ./model }\nworkers:\n");
    desk.write(&format!(
        "{text}  other: {{ model: half, on: [here/cpu] }}\n"
    ));
    desk.rbee(&["apply", "--yes"])
        .exits(3)
        .says("Berlin")
        .says("model.safetensors");
}

/// Puts a hive before the real one that says there are only so many bytes of memory left.
fn little_memory(desk: &Desk, available: u64) {
    let bin = desk.home().join("bin/current").canonicalize().unwrap();
    let hive = bin.join("rbee-hive");
    fs::rename(&hive, bin.join("real")).unwrap();
    let script = format!(
        "#!/bin/sh\n'{}' \"$@\" | sed -u 's/\"available\":[0-9]*/\"available\":{available}/g'\n",
        bin.join("real").display()
    );
    fs::write(&hive, script).unwrap();
    fs::set_permissions(&hive, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn where_both_do_not_fit_the_outage_is_limited_and_the_old_worker_comes_back() {
    let desk = Desk::new();
    // Its keys and values take 200 MB.
    fleet(&desk, "", "Paris", 256);
    desk.rbee(&["apply", "--yes"]).exits(0);
    let before = serving(&desk);
    little_memory(&desk, 100_000_000);

    fleet(&desk, "max_outage: 0s\n", "Paris", 255);
    for command in [&["plan"][..], &["apply", "--yes"]] {
        desk.rbee(command)
            .exits(5)
            .says("error: tiny would be down for about ")
            .says("and max_outage allows 0.0 s");
    }
    let saved = desk.rbee(&["plan", "--out", "it.plan"]).exits(5).says(
        "Saved to it.plan, but `rbee apply it.plan` will refuse it: tiny would be down for about ",
    );
    assert!(!saved.err.contains("does exactly this"), "{}", saved.err);
    assert!(
        saved.out.contains(" MB free after the stop"),
        "{}",
        saved.out
    );
    desk.rbee(&["apply", "it.plan"]).exits(5);
    assert_eq!(serving(&desk), before);

    fleet(&desk, "", "Berlin", 255);
    desk.rbee(&["plan"]).exits(0).says("-/+");
    desk.rbee(&["apply", "--yes"])
        .exits(5)
        .says("the old worker serves again, at 127.0.0.1:")
        .says(", though it does not answer as its canary expects either");
    let [(slots, pid)] = serving(&desk)[..] else {
        panic!("{:?}", serving(&desk));
    };
    assert_eq!(slots, 256);
    assert_ne!(pid, before[0].1, "it never stopped");
    answers(&desk);

    fleet(&desk, "max_outage: 10m\n", "Paris", 255);
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 replaced");
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}
