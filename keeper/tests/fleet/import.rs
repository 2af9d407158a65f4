//! What people started by hand comes into the fleet without being touched.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{Desk, tiny};

/// The record of a worker, as the pool has it.
fn worker(desk: &Desk, id: &str) -> Value {
    let all = desk
        .rbee(&["pool", "worker", "list", "--json"])
        .exits(0)
        .json();
    let mut all = all.as_array().unwrap().iter();
    all.find(|worker| worker["id"] == id).unwrap().clone()
}

/// Spawns a worker on the one pool, as a person does it; its id.
fn spawn(desk: &Desk, options: &[&str]) -> String {
    let spawn = ["pool", "worker", "spawn", "cpu", "--json"];
    let spawned = desk.rbee(&[&spawn, options].concat()).exits(0).json();
    spawned["id"].as_str().unwrap().to_owned()
}

fn register(desk: &Desk, model: &str, folder: &Path) {
    let source = folder.to_str().unwrap();
    desk.rbee(&["pool", "models", "register", model, "--source", source])
        .exits(0);
}

const FLEET: &str = "\
# Ours.
version: 1
fleet:   test   # as it was
pools:
  here: { connect: POOL, devices: [cpu] }

models:
  # The first.
  tiny: { source: TINY }
  # other: { source: ./other }

# Who serves.
workers:
    chat:
        model: tiny
        on: [here/cpu]   # one

defaults: { worker: { slots: 2 } }
";

fn is_imported_and_left_running(desk: &Desk, pool: &str) {
    let fleet = FLEET
        .replace("POOL", pool)
        .replace("TINY", tiny().to_str().unwrap());
    desk.write(&fleet);
    desk.rbee(&["apply", "--yes"]).exits(0);
    register(desk, "by.hand", &tiny());
    let one = spawn(
        desk,
        &["--model", "by.hand", "--slots", "2", "--quantize", "q8_0"],
    );
    let two = spawn(
        desk,
        &["--model", "tiny", "--slots", "3", "--context", "256"],
    );
    let before = [&one, &two].map(|id| worker(desk, id));

    let asked = desk.rbee(&["import"]).exits(1).says("nobody to ask");
    assert!(
        asked
            .out
            .contains(&format!("worker {one} as by-hand/here/cpu/0"))
    );
    assert_eq!(fs::read_to_string(desk.path("fleet.yaml")).unwrap(), fleet);
    desk.rbee(&["import", "--pool", "here", "--yes"]).exits(0);

    let source = tiny();
    let source = source.to_str().unwrap();
    let expected = fleet
        .replace(
            "./other }\n",
            &format!("./other }}\n  by.hand: {{ source: {source}, quantize: q8_0 }}\n"),
        )
        .replace(
            "# one\n",
            "# one\n    by-hand: { model: by.hand, on: [here/cpu] }\n    \
             tiny: { model: tiny, on: [here/cpu], slots: 3, context: 256 }\n",
        );
    assert_eq!(
        fs::read_to_string(desk.path("fleet.yaml")).unwrap(),
        expected
    );
    let plan = desk.rbee(&["plan", "--detailed-exitcode", "--prune-models"]);
    plan.exits(0);
    for before in before {
        let now = worker(desk, before["id"].as_str().unwrap());
        assert_eq!(now["process"], before["process"]);
        assert_eq!(
            (&now["alive"], &now["fleet"]),
            (&true.into(), &"test".into())
        );
    }
    let again = desk.rbee(&["import", "--yes"]).exits(0);
    again.says("Nothing of pool here is to be imported.");
    // From now on they are the fleet's.
    desk.write(&fleet);
    desk.rbee(&["plan"]).exits(0).says("2 to stop");
}

#[test]
fn what_runs_on_this_machine_is_imported_and_left_running() {
    is_imported_and_left_running(&Desk::new(), "local");
}

#[test]
fn what_runs_behind_ssh_is_imported_and_left_running() {
    let desk = Desk::new();
    let _pool = desk.lab.sshd("one");
    is_imported_and_left_running(&desk, "ssh://one");
}

#[test]
fn what_cannot_be_written_is_said_and_left() {
    let desk = Desk::new();
    let fleet = |workers: &str| {
        format!(
            "version: 1\nfleet: test\npools: {{ here: {{ connect: local, devices: [cpu] }} }}\n\
             defaults: {{ worker: {{ context: 128 }} }}\nmodels:\n  tiny: {{ source: {} }}\n{workers}",
            tiny().display()
        )
    };
    desk.write(&fleet(
        "workers: { chat: { model: tiny, on: [\"*/cpu\"] } }\n",
    ));
    desk.rbee(&["apply", "--yes"]).exits(0);
    let copy = desk.path("copy");
    let copied = Command::new("cp").arg("-r").arg(tiny()).arg(&copy).status();
    assert!(copied.unwrap().success());
    register(&desk, "gone", &copy);
    fs::remove_dir_all(&copy).unwrap();
    let endless = spawn(&desk, &["--model", "tiny"]);
    let of_gone = spawn(&desk, &["--model", "gone", "--context", "128"]);
    let fits = spawn(
        &desk,
        &["--model", "tiny", "--slots", "2", "--context", "128"],
    );

    // Workers stand in one line: what would be added is shown, and nothing moves.
    let before = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    let shown = desk.rbee(&["import", &fits, "--yes"]).exits(1);
    let shown =
        shown.says("To be pasted:\nworkers:\n  tiny: { model: tiny, on: [here/cpu], slots: 2 }\n");
    shown.says("help: write the sections as blocks, or paste the lines");
    assert_eq!(fs::read_to_string(desk.path("fleet.yaml")).unwrap(), before);
    assert_eq!(worker(&desk, &fits)["fleet"], Value::Null);

    // Pasted, it is taken for the worker that it describes.
    let pasted = fleet(
        "workers:\n  chat: { model: tiny, on: [\"*/cpu\"] }\n  tiny: { model: tiny, on: [here/cpu], slots: 2 }\n",
    );
    desk.write(&pasted);
    let rest = desk.rbee(&["import", "--yes"]).exits(0);
    let rest = rest.says(&format!("worker {fits} as tiny/here/cpu/0"));
    let rest = rest.says(&format!(
        "worker {endless}: its context is (default), by fleet.yaml it would be 128"
    ));
    let rest = rest.says("model gone: it came from ");
    rest.says(&format!(
        "worker {of_gone}: fleet.yaml has no model gone for it"
    ));
    assert_eq!(fs::read_to_string(desk.path("fleet.yaml")).unwrap(), pasted);
    assert_eq!(worker(&desk, &fits)["address"], "tiny/here/cpu/0");
    assert_eq!(worker(&desk, &endless)["fleet"], Value::Null);
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);

    // Asked for by name it is a failure, as is what is not there.
    let asked = desk.rbee(&["import", &endless, "--name", "mine", "--yes", "--json"]);
    let asked = asked.exits(1).json();
    assert_eq!(asked["import"]["adopted"], Value::Array(Vec::new()));
    assert_eq!(asked["import"]["left"][0]["worker"], *endless);
    let unknown = desk.rbee(&["import", "none", "--yes"]).exits(1);
    unknown.says("nothing there that belongs to no fleet is called `none`");
    desk.rbee(&["import", "--name", "mine", "--yes"])
        .exits(1)
        .says("--name names one worker");
}

#[test]
fn an_id_means_one_thing_and_an_address_is_nobody_elses() {
    let desk = Desk::new();
    let fleet = |workers: &str| {
        let model = tiny();
        let model = model.display();
        format!(
            "version: 1\nfleet: test\npools:\n  here: {{ connect: local, devices: [cpu] }}\n\
             models:\n  tiny: {{ source: {model} }}\nworkers:\n  chat: {{ model: tiny, on: [here/cpu] }}\n{workers}"
        )
    };
    desk.write(&fleet("  tiny: { model: tiny, on: [here/cpu] }\n"));
    desk.rbee(&["apply", "--yes"]).exits(0);
    register(&desk, "by", &tiny());
    let ids = [1, 2].map(|slots: u32| {
        let slots = slots.to_string();
        spawn(&desk, &["--model", "by", "--slots", &slots])
    });
    // What starts so is each of them, the model as well.
    let before = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    let refused = desk.rbee(&["import", "by-", "--yes"]).exits(1);
    let mut sorted = ids.clone();
    sorted.sort();
    let either = [&ids, &sorted].map(|ids| format!("`by-` could be each of {}", ids.join(", ")));
    assert!(
        either.iter().any(|words| refused.err.contains(words)),
        "{}",
        refused.err
    );
    refused.says("help: write the whole id");
    desk.rbee(&["import", "", "--yes"]).exits(1);
    assert_eq!(fs::read_to_string(desk.path("fleet.yaml")).unwrap(), before);
    assert_eq!(worker(&desk, &ids[0])["fleet"], Value::Null);
    // The whole id of the model means no worker.
    let said = desk.rbee(&["import", "by", "--yes"]).exits(0);
    assert!(!said.out.contains("worker"), "{}", said.out);
    // The start of one means that one.
    let start = &ids[0][..ids[0].len() - 1];
    assert!(!ids[1].starts_with(start), "{ids:?}");

    // The fleet has a worker at `tiny/here/cpu/0` still, though its line is gone.
    let imported = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    let without = imported.replace("  tiny: { model: tiny, on: [here/cpu] }\n", "");
    assert_ne!(without, imported);
    desk.write(&without);
    let third = spawn(&desk, &["--model", "tiny", "--slots", "3"]);
    for name in ["chat", "tiny"] {
        let args = ["import", &third, "--name", name, "--yes"];
        let refused = desk.rbee(&args).exits(1);
        refused.says(&format!("Left as it is:\n  worker {third}: "));
    }
    assert_eq!(worker(&desk, &third)["fleet"], Value::Null);
    desk.rbee(&["import", &third, start, "--yes"])
        .exits(0)
        .says(&format!("worker {third} as tiny-2/here/cpu/0"))
        .says(&format!("worker {} as by/here/cpu/0", ids[0]));
    assert_eq!(worker(&desk, &ids[1])["fleet"], Value::Null);
    desk.rbee(&["plan"]).exits(0).says("Plan: 1 to stop.");
    desk.rbee(&["pool", "worker", "stop-all"]).exits(0);
}
