//! A part of the fleet, on real pools: what is asked for is done, what is left out is said and left.

use std::fs;

use serde_json::{Value, json};

use super::output::lines;
use super::{Desk, tiny};

const TWO: &str = "  one: { connect: ssh://one, devices: [cpu] }\n  two: { connect: ssh://two, devices: [cpu] }\n";

fn write(desk: &Desk, chat: &str) {
    desk.write(&format!(
        "version: 1\nfleet: test\npools:\n{TWO}models:\n  tiny: {{ source: {} }}\n\
         workers:\n  chat: {{ model: tiny, on: [\"*/cpu\"]{chat} }}\n  talk: {{ model: tiny, on: [one/cpu] }}\n",
        tiny().display()
    ));
}

/// The workers that serve, with their slots.
fn serving(desk: &Desk) -> Vec<(String, Value)> {
    let status = desk.rbee(&["status", "--json"]).json();
    let pools = status["pools"].as_object().unwrap();
    let workers = pools
        .values()
        .flat_map(|pool| pool["workers"].as_array().into_iter().flatten());
    let ready = workers.filter(|worker| worker["state"] == "ready");
    let text = |worker: &Value| worker["address"].as_str().unwrap().to_owned();
    let mut ready: Vec<_> = ready
        .map(|worker| (text(worker), worker["slots"].clone()))
        .collect();
    ready.sort_by(|one, other| one.0.cmp(&other.0));
    ready
}

fn names(desk: &Desk) -> Vec<String> {
    serving(desk)
        .into_iter()
        .map(|(address, _)| address)
        .collect()
}

#[test]
fn what_is_asked_for_is_done_with_what_it_needs_and_the_rest_is_left() {
    let desk = Desk::new();
    let (one, _two) = (desk.lab.sshd("one"), desk.lab.sshd("two"));
    write(&desk, "");
    let left = "Left out by --worker talk: 1 to install, 1 to copy (2.6 MB), 2 to spawn.\n";
    let plan = desk
        .rbee(&["plan", "--worker", "talk", "--detailed-exitcode"])
        .exits(2);
    assert!(
        plan.out.ends_with(&format!(
            "Plan: 1 to install, 1 to copy (2.6 MB), 1 to spawn.\n{left}"
        )),
        "{}",
        plan.out
    );
    assert!(
        !plan.out.contains("two") && !plan.out.contains("chat"),
        "{}",
        plan.out
    );
    let comment = desk
        .rbee(&["plan", "--worker", "talk", "--markdown"])
        .exits(0);
    comment.says("\nLeft out by `--worker talk`: 1 to install, ");
    desk.rbee(&["apply", "--worker", "talk", "--yes"])
        .exits(0)
        .says(left)
        .says("Apply complete: 1 installed, 1 copied (2.6 MB), 1 spawned.");
    assert_eq!(names(&desk), ["talk/one/cpu/0"]);
    let rest = desk
        .rbee(&["plan", "--worker", "talk", "--detailed-exitcode"])
        .exits(0);
    rest.says("No changes: nothing of what was asked for of fleet test is to be done.\nLeft out by --worker talk: ");
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(2);

    // A saved part is that part.
    let args = ["plan", "--pool", "two", "--out", "two.plan"];
    desk.rbee(&args)
        .exits(0)
        .says("Left out by --pool two: 1 to spawn.\n");
    let shown = desk.rbee(&["show", "two.plan", "--json"]).exits(0).json();
    assert_eq!(
        shown["plan"]["left_out"]["targets"],
        json!({ "pools": ["two"] })
    );
    assert_eq!(shown["plan"]["left_out"]["totals"]["spawn"], 1);
    desk.rbee(&["apply", "two.plan"])
        .exits(0)
        .says("Left out by --pool two: 1 to spawn.\n");
    assert_eq!(names(&desk), ["chat/two/cpu/0", "talk/one/cpu/0"]);
    let stream = desk.rbee(&[
        "apply",
        "--model",
        "t*",
        "--worker",
        "c*/one/*/*",
        "--yes",
        "--json-stream",
    ]);
    let stream = lines(&stream.exits(0));
    let summary = stream.last().unwrap();
    assert_eq!(
        summary["left_out"]["targets"],
        json!({ "models": ["t*"], "workers": ["c*/one/*/*"] })
    );
    assert_eq!(
        (
            &summary["done"]["spawn"],
            &summary["left_out"]["totals"]["spawn"]
        ),
        (&json!(1), &json!(0))
    );
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);

    // A replacement goes with both its halves, a worker that is no longer declared by its address.
    write(&desk, ", slots: 2");
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.write(text.split("  talk:").next().unwrap());
    desk.rbee(&["apply", "--worker", "chat/two/cpu/0", "--yes"])
        .exits(0)
        .says("Left out by --worker chat/two/cpu/0: 1 to replace, 1 to stop.\n");
    let slots: Vec<_> = serving(&desk).into_iter().map(|(_, slots)| slots).collect();
    assert_eq!(slots, [json!(1), json!(2), json!(1)]);
    desk.rbee(&["apply", "--worker", "talk", "--yes"])
        .exits(0)
        // It stops once the others of its model on its pool are as they should be.
        .says("Apply complete: 1 replaced, 1 stopped.");
    assert_eq!(names(&desk), ["chat/one/cpu/0", "chat/two/cpu/0"]);

    // A pool that does not answer counts where it is asked for.
    one.kill();
    desk.rbee(&["plan", "--no-persist"]).exits(4);
    desk.rbee(&["plan", "--no-persist", "--worker", "chat/one/*/*"])
        .exits(4);
    desk.rbee(&["apply", "--no-persist", "--yes", "--pool", "two"])
        .exits(0)
        .says("Left out by --pool two: 1 pool not known.\n");
}

#[test]
fn a_glob_that_matches_nothing_is_an_error_with_what_there_is() {
    let desk = Desk::new();
    let (_one, _two) = (desk.lab.sshd("one"), desk.lab.sshd("two"));
    write(&desk, "");
    for (args, help) in [
        (["--worker", "tlak"], "did you mean `talk`?"),
        (["--worker", "*/three/*/*"], "there is: chat, talk"),
        (["--pool", "x*"], "there is: one, two"),
        (["--model", "tiyn"], "did you mean `tiny`?"),
    ] {
        for command in ["plan", "apply"] {
            let refused = desk.rbee(&[&[command][..], &args].concat()).exits(1);
            refused
                .says(&format!(
                    "`{}`, neither in the fleet file nor on a pool",
                    args[1]
                ))
                .says(&format!("help: {help}"));
        }
    }
    desk.rbee(&["apply", "it.plan", "--worker", "chat"])
        .exits(64);
    let both = desk
        .rbee(&["plan", "--pool", "one", "--pool", "t*", "--json"])
        .exits(0)
        .json();
    assert_eq!(both["plan"]["left_out"]["totals"]["spawn"], 0);
}
