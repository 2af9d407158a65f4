//! Who differs in what, and who does not count.

use std::fs;

use serde_json::{Value, json};

use super::Desk;

const HERE: &str = "  here: { connect: local, devices: [cpu] }\n";

fn differences(desk: &Desk) -> Vec<Value> {
    let drift = desk.rbee(&["drift", "--json"]).exits(0).json();
    let differs = drift["pools"]["here"]["differs"].as_array().unwrap();
    differs
        .iter()
        .map(|one| json!([one["kind"], one["name"], one["way"]]))
        .collect()
}

#[test]
fn each_thing_that_differs_is_said_field_by_field_and_nothing_is_changed() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let fresh = desk
        .rbee(&["drift"])
        .exits(0)
        .says("Drift: 3 things differ, on 1 of 1 pool");
    assert!(
        fresh
            .out
            .contains("  + worker    chat/here/cpu/0  (not there yet)\n"),
        "{}",
        fresh.out
    );
    assert!(!desk.home().exists(), "drift made something");
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk.rbee(&["drift"])
        .exits(0)
        .says("here is as the fleet file says")
        .says("No drift: 1 pool answered");

    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.write(&text.replace("on: [here/cpu]", "on: [here/cpu], slots: 2, context: 256"));
    let changed = desk.rbee(&["drift", "--detailed-exitcode"]).exits(2);
    for part in [
        "  ~ worker    chat/here/cpu/0  (slots, context changed)\n",
        "      slots: 1 → 2\n      context: (default) → 256\n",
        "Drift: 1 thing differs",
    ] {
        assert!(
            changed.out.contains(part),
            "no {part:?} in\n{}",
            changed.out
        );
    }
    desk.write(&text.replace("chat:", "talk:"));
    assert_eq!(
        differences(&desk),
        [
            json!(["worker", "talk/here/cpu/0", "missing"]),
            json!(["worker", "chat/here/cpu/0", "extra"]),
        ]
    );
    desk.write(&text);
    let model = desk.rbee(&["status", "--json"]).exits(0).json();
    let path = model["pools"]["here"]["models"][0]["path"]
        .as_str()
        .unwrap()
        .to_owned();
    fs::remove_file(format!("{path}/config.json")).unwrap();
    desk.rbee(&["drift"])
        .exits(0)
        .says("~ model     tiny  (damaged: config.json)");
    let worker = |status: &Value| status["pools"]["here"]["workers"][0]["process"].clone();
    assert_eq!(
        worker(&model),
        worker(&desk.rbee(&["status", "--json"]).json())
    );
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn of_pools_that_do_not_answer_nothing_is_said_to_be_as_it_should() {
    let desk = Desk::new();
    let pools = ["one", "two"].map(|name| desk.lab.sshd(name));
    let both = "  one: { connect: ssh://one, devices: [cpu] }\n  \
                two: { connect: ssh://two, devices: [cpu] }\n";
    desk.fleet(both, "one/cpu");
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk.rbee(&["drift"])
        .exits(0)
        .says("No drift: 2 pools answered, and what fleet test has there is as its file says.\n");
    pools[1].kill();
    desk.rbee(&["drift"]).exits(4).says(
        "No drift: 1 pool answered, and what fleet test has there is as its file says. \
         Of two nothing is known.\n",
    );
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.write(&text.replace("on: [one/cpu]", "on: [one/cpu], slots: 2"));
    desk.rbee(&["drift"])
        .exits(4)
        .says("Drift: 1 thing differs, on 1 of 1 pool that answered. Of two nothing is known.\n");
    pools[0].kill();
    let none = desk
        .rbee(&["drift"])
        .exits(4)
        .says("Nothing is known of fleet test: no pool answered.\n");
    assert!(!none.out.contains("No drift"), "{}", none.out);
}

#[test]
fn what_others_own_is_listed_apart_and_is_no_drift() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk.rbee(&["pool", "worker", "spawn", "cpu", "--model", "tiny"])
        .exits(0);
    let mine = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    fs::write(
        desk.path("other.yaml"),
        mine.replace("fleet: test", "fleet: other"),
    )
    .unwrap();
    desk.rbee(&["-f", "other.yaml", "apply", "--yes"]).exits(0);
    let drift = desk.rbee(&["drift", "--detailed-exitcode"]).exits(0);
    for part in [
        "(made by hand: not touched)",
        "chat/here/cpu/0  (of fleet other: not touched)",
    ] {
        assert!(drift.out.contains(part), "no {part:?} in\n{}", drift.out);
    }
    let json = desk.rbee(&["drift", "--json"]).exits(0).json();
    let others = json["pools"]["here"]["not_touched"].as_array().unwrap();
    let mut owners: Vec<&Value> = others.iter().map(|other| &other["owner"]).collect();
    owners.sort_by_key(ToString::to_string);
    assert_eq!(owners, [&json!("other"), &Value::Null]);
}
