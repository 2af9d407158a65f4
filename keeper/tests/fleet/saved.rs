//! Plans that were saved: carried out as they were reviewed, or not at all.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::lock::Office;
use super::{Desk, tiny};

const HERE: &str = "  here: { connect: local, devices: [cpu] }\n";

/// A fleet with one worker that runs, of a model in a folder of the desk.
fn running() -> Desk {
    let desk = Desk::new();
    let folder = desk.path("model");
    fs::create_dir(&folder).unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    desk.write(&format!(
        "version: 1\nfleet: test\npools:\n{HERE}models:\n  tiny: {{ source: ./model }}\n\
         workers:\n  chat: {{ model: tiny, on: [here/cpu] }}\n"
    ));
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk
}

fn change(desk: &Desk, from: &str, to: &str) {
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    assert!(text.contains(from), "{text}");
    desk.write(&text.replace(from, to));
}

/// What runs: address, slots and process of each worker.
fn workers(desk: &Desk) -> Vec<Value> {
    let status = desk.rbee(&["status", "--json"]).exits(0).json();
    let workers = status["pools"]["here"]["workers"].as_array().unwrap();
    let seen = workers.iter();
    seen.map(|w| serde_json::json!([w["address"], w["slots"], w["process"]]))
        .collect()
}

#[test]
fn a_saved_plan_is_carried_out_without_a_question_and_without_the_fleet_file() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    desk.rbee(&["plan", "--out", "it.plan"])
        .exits(0)
        .says("Plan: 1 to install, 1 to copy (2.6 MB), 1 to spawn.")
        .says("Saved to it.plan: `rbee apply it.plan` does exactly this.");
    assert!(!desk.home().exists(), "a plan made something");
    // What the file says by now does not matter.
    desk.write("version: 1\nfleet: test\n");
    desk.rbee(&["apply", "it.plan"])
        .exits(0)
        .says("Apply complete: 1 installed, 1 copied (2.6 MB), 1 spawned.");
    // Done once, its facts are gone.
    desk.rbee(&["apply", "it.plan"])
        .exits(6)
        .says("the plan is stale: since 20")
        .says("help: nothing was moved; `rbee plan --out FILE` plans again");
    desk.fleet(HERE, "here/cpu");
    desk.rbee(&["plan", "--detailed-exitcode", "--out", "it.plan"])
        .exits(0);
    desk.rbee(&["apply", "it.plan", "--json"]).exits(0);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn an_empty_saved_plan_says_that_it_is_empty_and_nothing_of_the_fleet() {
    let desk = running();
    desk.rbee(&["plan", "--out", "it.plan"])
        .exits(0)
        .says("No changes: fleet test is as its file says.");
    // By now it is not.
    change(&desk, "on: [here/cpu]", "on: [here/cpu], slots: 2");
    for command in [&["show", "it.plan"], &["apply", "it.plan"]] {
        let ran = desk
            .rbee(command)
            .exits(0)
            .says("No changes: this saved plan of fleet test is empty.");
        assert!(!ran.out.contains("as its file says"), "{}", ran.out);
    }
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_saved_plan_has_no_secret_and_is_its_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let hub = local_hub::Hub::builder().repo("org/tiny", tiny());
    let office = Office::of(hub.gated("org/tiny", "hf_very_secret"));
    office.fleet("hf:org/tiny");
    let plan = ["plan", "--out", "it.plan"];
    office.rbee_as(&plan, Some("hf_very_secret")).exits(0);
    let path = office.desk.path("it.plan");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("org/tiny") && !text.contains("hf_very_secret"));
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let apply = ["apply", "it.plan", "--json-stream"];
    let applied = office.rbee_as(&apply, Some("hf_very_secret")).exits(0);
    assert!(!format!("{applied:?}").contains("hf_very_secret"));
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn what_has_nothing_to_do_with_a_plan_does_not_stale_it() {
    let desk = running();
    change(&desk, "on: [here/cpu]", "on: [here/cpu], slots: 2");
    desk.rbee(&["plan", "--out", "it.plan"]).exits(0);
    let saved: Value = serde_json::from_slice(&fs::read(desk.path("it.plan")).unwrap()).unwrap();
    let folder = Path::new(saved["folder"].as_str().unwrap());
    assert!(
        folder.is_absolute() && folder.join("model").is_dir(),
        "{folder:?}"
    );
    // Another fleet comes to the pool, and a worker that a person starts.
    let mine = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    let other = mine.replace("fleet: test", "fleet: other");
    fs::write(desk.path("other.yaml"), other).unwrap();
    desk.rbee(&["-f", "other.yaml", "apply", "--yes"]).exits(0);
    desk.rbee(&["pool", "worker", "spawn", "cpu", "--model", "tiny"])
        .exits(0);
    desk.rbee(&["apply", "it.plan"])
        .exits(0)
        .says("Apply complete: 1 replaced.");
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
    desk.rbee(&["pool", "worker", "stop-all"]).exits(0);
}

#[test]
fn a_plan_that_was_edited_moves_nothing() {
    let desk = running();
    desk.write(&format!("version: 1\nfleet: test\npools:\n{HERE}"));
    desk.rbee(&["plan", "--out", "it.plan"])
        .exits(0)
        .says("1 to stop");
    let saved: Value = serde_json::from_slice(&fs::read(desk.path("it.plan")).unwrap()).unwrap();
    let before = workers(&desk);
    let edits: [(&str, Value, &str); 3] = [
        (
            "facts",
            serde_json::json!([]),
            "does not rely on the worker",
        ),
        ("for_spawn", true.into(), "makes place for no spawn"),
        ("worker", "other".into(), "relies on the worker"),
    ];
    for (field, value, said) in edits {
        let mut edited = saved.clone();
        let stop = &mut edited["plan"]["actions"][0];
        assert_eq!(stop["action"], "stop");
        stop[field] = value;
        // What a saved plan calls itself comes first.
        let format = edited.as_object_mut().unwrap().remove("format").unwrap();
        let text = format!("{{\"format\":{format},{}", &edited.to_string()[1..]);
        fs::write(desk.path("it.plan"), text).unwrap();
        desk.rbee(&["apply", "it.plan"])
            .exits(1)
            .says("error: the saved plan is damaged: action #0 (stop chat/here/cpu/0")
            .says(said);
    }
    assert_eq!(workers(&desk), before);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_plan_whose_worker_changed_moves_nothing() {
    let desk = running();
    change(&desk, "on: [here/cpu]", "on: [here/cpu], slots: 2");
    desk.rbee(&["plan", "--out", "it.plan"]).exits(0);
    change(&desk, "slots: 2", "slots: 3");
    desk.rbee(&["apply", "--yes"]).exits(0);
    let before = workers(&desk);
    desk.rbee(&["apply", "it.plan"])
        .exits(6)
        .says("what runs at chat/here/cpu/0");
    assert_eq!(workers(&desk), before);
    // A process that is another one is another worker, though it is the same in all else.
    change(&desk, "slots: 3", "slots: 2");
    desk.rbee(&["plan", "--out", "it.plan"]).exits(0);
    for pid in desk.workers() {
        let mut kill = std::process::Command::new("kill");
        assert!(
            kill.args(["-9", &pid.to_string()])
                .status()
                .unwrap()
                .success()
        );
    }
    change(&desk, "slots: 2", "slots: 3");
    desk.rbee(&["apply", "--yes"]).exits(0);
    let before = workers(&desk);
    desk.rbee(&["apply", "it.plan"]).exits(6);
    assert_eq!(workers(&desk), before);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_plan_whose_model_changed_there_or_here_moves_nothing() {
    let desk = running();
    let settings = desk.path("model/generation_config.json");
    let text = fs::read_to_string(&settings).unwrap_or_else(|_| "{}".into());
    fs::write(&settings, format!("{text} ")).unwrap();
    desk.rbee(&["plan", "--out", "it.plan"]).exits(0);
    let before = workers(&desk);
    // Here: the files that it would send are others.
    fs::write(&settings, format!("{text}  ")).unwrap();
    desk.rbee(&["apply", "it.plan"])
        .exits(6)
        .says("the files of tiny in ");
    assert_eq!(workers(&desk), before);
    // There: the model is one that the plan has not seen.
    desk.rbee(&["apply", "--yes"]).exits(0);
    fs::write(&settings, format!("{text} ")).unwrap();
    let before = workers(&desk);
    desk.rbee(&["apply", "it.plan"])
        .exits(6)
        .says("the model tiny");
    assert_eq!(workers(&desk), before);
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

/// Another build: the same programs with bytes behind them, which the loader does not read.
fn build(desk: &Desk, name: &str, more: usize) -> String {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let dist = desk.path(name);
    fs::create_dir_all(dist.join(&target)).unwrap();
    for name in ["rbee-hive", "llm-worker-rbee", "orchestratord"] {
        let mut program = fs::read(crate::program(name)).unwrap();
        program.extend(vec![0; more]);
        fs::write(dist.join(&target).join(name), program).unwrap();
    }
    dist.to_str().unwrap().to_owned()
}

#[test]
fn a_plan_whose_build_changed_there_or_here_moves_nothing() {
    let desk = running();
    let [one, two] = [("one", 1), ("two", 2)].map(|(name, more)| build(&desk, name, more));
    desk.rbee(&["plan", "--out", "it.plan", "--dist", &one])
        .exits(0)
        .says("Plan: 1 to install.");
    let current = || fs::read_link(desk.home().join("bin/current")).unwrap();
    let before = current();
    desk.rbee(&["apply", "it.plan", "--dist", &two])
        .exits(6)
        .says("the build for ");
    assert_eq!(current(), before);
    desk.rbee(&["apply", "--yes", "--dist", &two]).exits(0);
    let before = current();
    desk.rbee(&["apply", "it.plan", "--dist", &one])
        .exits(6)
        .says("the installed programs");
    assert_eq!(current(), before);
    desk.rbee(&["destroy", "--yes", "--dist", &two]).exits(0);
}

#[test]
fn a_pool_that_does_not_answer_any_more_is_left_and_the_others_go_on() {
    let desk = Desk::new();
    let pool = desk.lab.sshd("one");
    desk.fleet(
        &format!("{HERE}  one: {{ connect: ssh://one, devices: [cpu] }}\n"),
        "'*/cpu'",
    );
    desk.rbee(&["plan", "--out", "it.plan"]).exits(0);
    pool.kill();
    desk.rbee(&["apply", "it.plan"])
        .exits(4)
        .says("unreachable: one: connection refused")
        .says("Apply not complete: 1 installed, 1 copied (2.6 MB), 1 spawned.");
    assert!(!Path::new(pool.home()).join("catalog.json").exists());
    desk.rbee(&["destroy", "--yes"]).exits(4);
}

#[test]
fn what_is_no_plan_is_refused_and_no_other_file_is_replaced() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    desk.rbee(&["apply", "fleet.yaml"])
        .exits(1)
        .says("error: this is no saved plan")
        .says("--> fleet.yaml");
    desk.rbee(&["apply", "nowhere.plan"])
        .exits(1)
        .says("error: cannot read the plan");
    let fifo = desk.path("fifo");
    let mut mkfifo = std::process::Command::new("mkfifo");
    assert!(mkfifo.arg(&fifo).status().unwrap().success());
    let sparse = fs::File::create(desk.path("large")).unwrap();
    sparse.set_len((256 << 20) + 1).unwrap();
    for (file, why) in [
        ("/dev/zero", "it is no regular file"),
        ("fifo", "it is no regular file"),
        (".", "it is no regular file"),
        ("large", "it is larger than 268.4 MB"),
    ] {
        for command in ["show", "apply"] {
            desk.rbee(&[command, file])
                .exits(1)
                .says(&format!("error: cannot read the plan: {why}"))
                .says(&format!("--> {file}\n"));
        }
        desk.rbee(&["plan", "--out", file])
            .exits(1)
            .says("there is a file already, and it is no saved plan");
    }
    let before = fs::read(desk.path("fleet.yaml")).unwrap();
    desk.rbee(&["plan", "--out", "fleet.yaml"])
        .exits(1)
        .says("there is a file already, and it is no saved plan");
    assert_eq!(fs::read(desk.path("fleet.yaml")).unwrap(), before);
    desk.rbee(&["plan", "--out", "it.plan"]).exits(0);
    let text = fs::read_to_string(desk.path("it.plan")).unwrap();
    let other = text.replacen("\"version\": 1", "\"version\": 2", 1);
    fs::write(desk.path("it.plan"), other).unwrap();
    desk.rbee(&["apply", "it.plan"])
        .exits(1)
        .says("the saved plan has version 2, this rbee reads 1");
    for flag in ["--prune-models", "--allow-empty", "--locked"] {
        desk.rbee(&["apply", "it.plan", flag]).exits(64);
    }
    assert!(!desk.home().exists());
}
