//! What programs read: one document, or lines, each as its schema says.

use std::fs;

use jsonschema::Validator;
use serde_json::{Value, json};

use super::{Desk, Ran, tiny};

const HERE: &str = "  here: { connect: local, devices: [cpu] }\n";

/// A schema as it is shipped.
pub fn schema(name: &str) -> Validator {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas");
    let text = fs::read_to_string(format!("{folder}/{name}.schema.json")).unwrap();
    jsonschema::draft7::new(&serde_json::from_str(&text).unwrap()).unwrap()
}

/// Fails with all that is wrong.
#[track_caller]
pub fn valid(schema: &Validator, value: &Value) {
    let errors: Vec<String> = schema
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{errors:#?} in {value:#}");
}

/// The lines of a stream, all of them valid.
#[track_caller]
pub fn lines(ran: &Ran) -> Vec<Value> {
    let schema = schema("stream");
    let lines = ran.out.lines();
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    for line in &lines {
        valid(&schema, line);
    }
    assert_eq!(lines[0]["type"], "version", "{}", ran.out);
    lines
}

fn types(lines: &[Value]) -> Vec<&str> {
    let types = lines.iter().map(|line| line["type"].as_str().unwrap());
    let mut types: Vec<&str> = types.collect();
    types.dedup();
    types
}

#[test]
fn the_shipped_schemas_are_those_of_this_build() {
    let desk = Desk::new();
    for name in [
        "plan", "stream", "status", "drift", "apply", "test", "error",
    ] {
        let printed = desk.rbee(&["schema", name]).exits(0);
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/schemas");
        let shipped = fs::read_to_string(format!("{folder}/{name}.schema.json")).unwrap();
        assert!(
            printed.out == shipped,
            "docs/schemas/{name}.schema.json is stale: `rbee schema {name}` prints it"
        );
        // It says something: what is no document of ours is refused.
        let nonsense = json!({ "type": "nonsense", "plan": 1, "pools": 1 });
        assert!(!schema(name).is_valid(&nonsense), "{name}");
    }
}

#[test]
fn every_document_of_a_fleets_life_is_as_its_schema_says() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let (plan, status) = (schema("plan"), schema("status"));
    valid(&status, &desk.rbee(&["status", "--json"]).exits(1).json());
    let planned = desk.rbee(&["plan", "--json", "--out", "it.plan"]).exits(0);
    valid(&plan, &planned.json());
    let shown = desk.rbee(&["show", "it.plan", "--json"]).exits(0).json();
    valid(&plan, &shown);
    assert_eq!(shown["plan"], planned.json()["plan"]);
    assert!(shown["saved"]["at"].as_str().unwrap().contains('T'));
    assert_eq!(shown["saved"]["by"], pool_core::VERSION);

    let streamed = lines(&desk.rbee(&["plan", "--json-stream"]).exits(0));
    assert_eq!(types(&streamed), ["version", "planned_action", "summary"]);
    assert_eq!(
        (
            &streamed[4]["action"],
            &streamed[4]["subject"],
            &streamed[4]["text"]
        ),
        (
            &json!("spawn"),
            &json!("chat/here/cpu/0"),
            &json!("spawn chat/here/cpu/0")
        )
    );
    // A refusal ends as a stream does: what was planned, then why not.
    let refused = lines(&desk.rbee(&["apply", "--json-stream"]).exits(1));
    assert_eq!(
        types(&refused),
        ["version", "planned_action", "summary", "error"]
    );
    let done = lines(&desk.rbee(&["apply", "--yes", "--json-stream"]).exits(0));
    let types_of = types(&done);
    for word in [
        "planned_action",
        "apply_start",
        "apply_complete",
        "apply_progress",
    ] {
        assert!(types_of.contains(&word), "{word} in {types_of:?}");
    }
    assert_eq!(done.last().unwrap()["done"]["spawn"], 1);
    valid(&status, &desk.rbee(&["status", "--json"]).exits(0).json());

    for (command, value) in [
        (&["status"][..], &json!({ "fleet": "test", "exit": 0 })),
        (&["drift"], &json!({ "fleet": "test" })),
        (&["validate"], &json!({ "valid": true })),
        (&["lock"], &json!({ "written": false })),
    ] {
        let streamed = lines(&desk.rbee(&[command, &["--json-stream"]].concat()).exits(0));
        assert_eq!(types(&streamed), ["version", "result"]);
        assert_eq!(streamed[1]["command"], command[0]);
        for (key, value) in value.as_object().unwrap() {
            assert_eq!(&streamed[1]["value"][key], value, "{streamed:?}");
        }
    }
    let gone = lines(&desk.rbee(&["destroy", "--yes", "--json-stream"]).exits(0));
    assert_eq!(gone.last().unwrap()["done"]["stop"], 1);
    assert_eq!(types(&gone).last(), Some(&"summary"));
}

/// One worker `chat` with so many slots, which must answer this when it is asked for the capital of France.
fn expecting(desk: &Desk, pools: &str, answer: &str, slots: u32) {
    desk.write(&format!(
        "version: 1\nfleet: test\npools:\n{pools}models:\n  tiny:\n    source: {}\n    \
         canary: {{ prompt: What is the capital of France?, expect: {answer} }}\n\
         workers:\n  chat: {{ model: tiny, on: [here/cpu], slots: {slots} }}\n",
        tiny().display()
    ));
}

#[test]
fn drift_and_apply_are_documents_whatever_they_came_to() {
    let desk = Desk::new();
    let (drift, apply) = (schema("drift"), schema("apply"));
    expecting(&desk, HERE, "Paris", 1);
    let bare = desk.rbee(&["drift", "--json"]).exits(0).json();
    valid(&drift, &bare);
    assert_eq!(bare["pools"]["here"]["differs"][0]["way"], "missing");
    let done = desk.rbee(&["apply", "--yes", "--json"]).exits(0).json();
    valid(&apply, &done);
    assert_eq!(done["done"]["spawn"], 1);
    desk.rbee(&["pool", "worker", "spawn", "cpu", "--model", "tiny"])
        .exits(0);
    let pool = desk.lab.sshd("down");
    pool.kill();
    let pools = format!("{HERE}  down: {{ connect: ssh://down, devices: [cpu] }}\n");
    expecting(&desk, &pools, "Berlin", 2);
    let differs = desk.rbee(&["drift", "--json"]).exits(4).json();
    valid(&drift, &differs);
    assert_eq!(differs["pools"]["down"]["state"], "unknown");
    let here = &differs["pools"]["here"];
    assert_eq!(here["differs"][0]["fields"][0]["field"], "slots");
    assert_eq!(here["not_touched"][0]["kind"], "worker");
    let failed = desk.rbee(&["apply", "--yes", "--json"]).exits(5).json();
    valid(&apply, &failed);
    let statuses = failed["statuses"].as_array().unwrap();
    let words: Vec<&Value> = statuses.iter().map(|status| &status["status"]).collect();
    assert_eq!(words, ["failed", "skipped"]);
    desk.rbee(&["pool", "--pool", "here", "worker", "stop-all"])
        .exits(0);
    let gone = desk.rbee(&["destroy", "--yes", "--json"]).exits(4).json();
    valid(&apply, &gone);
}

#[test]
fn a_failed_action_is_an_event() {
    let desk = Desk::new();
    expecting(&desk, HERE, "Berlin", 1);
    let failed = lines(&desk.rbee(&["apply", "--yes", "--json-stream"]).exits(5));
    let errored: Vec<&Value> = failed
        .iter()
        .filter(|line| line["type"] == "apply_errored")
        .collect();
    let [errored] = errored[..] else {
        panic!("{failed:?}");
    };
    for (key, value) in [
        ("action", json!("spawn")),
        ("pool", json!("here")),
        ("subject", json!("chat/here/cpu/0")),
        ("gate", json!(true)),
        ("unreachable", json!(false)),
    ] {
        assert_eq!(errored[key], value, "{key} of {errored}");
    }
    let what = errored["what"].as_str().unwrap();
    assert!(
        what.contains("did not become ready") && what.contains("Berlin"),
        "{what}"
    );
    let help = errored["help"].as_str().unwrap();
    assert!(help.contains("rbee pool --pool here worker logs"), "{help}");
    let summary = failed.last().unwrap();
    assert_eq!(summary["type"], "summary");
    assert_eq!(summary["exit"], 5);
    assert_eq!(
        (&summary["done"]["install"], &summary["done"]["spawn"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn what_has_no_stream_says_so_as_a_stream() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    for command in [
        &["infer", "--worker", "chat", "--prompt", "x"][..],
        &["import"],
        &["init"],
        &["schema"],
        &["completions", "bash"],
        &["pool", "status"],
    ] {
        let ran = desk.rbee(&[&["--json-stream"], command].concat()).exits(64);
        let lines = lines(&ran);
        assert_eq!(types(&lines), ["version", "error"], "{command:?}");
        assert_eq!(lines[1]["error"]["exit"], 64);
    }
}

#[test]
fn a_command_that_fails_as_a_whole_prints_the_error_and_nothing_else() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let cases: &[(&[&str], u64, &str)] = &[
        (
            &["status", "-f", "no.yaml"],
            1,
            "cannot read the fleet file",
        ),
        (&["drift", "-f", "no.yaml"], 1, "cannot read the fleet file"),
        (&["show", "fleet.yaml"], 1, "this is no saved plan"),
        (&["apply"], 1, "there is nobody to ask"),
        (&["lock", "--update", "none"], 1, "there is no model `none`"),
        (&["plan", "--no-such-flag"], 64, "--no-such-flag"),
        (&["watch"], 64, "no one document"),
    ];
    let schema = schema("error");
    for (args, code, what) in cases {
        let ran = desk.rbee(&[args, &["--json"][..]].concat());
        valid(&schema, &ran.json());
        let error = ran.json()["error"].clone();
        assert_eq!(ran.code, i32::try_from(*code).unwrap(), "{args:?}");
        assert_eq!(error["exit"], *code, "{args:?}");
        assert!(
            error["what"].as_str().unwrap().contains(what),
            "{args:?}: {error}"
        );
        assert!(!ran.err.is_empty(), "{args:?} says nothing to people");
    }
    let ran = desk
        .rbee(&["status", "-f", "no.yaml", "--json-stream"])
        .exits(1);
    let lines = lines(&ran);
    assert_eq!(types(&lines), ["version", "error"]);
    assert_eq!(lines[1]["error"]["at"], "no.yaml");

    desk.write("version: 1\nfleet: home\npools:\n  here: { conect: local, devices: [gpu] }\n");
    for command in ["plan", "validate"] {
        let document = desk.rbee(&[command, "--json"]).exits(1).json();
        valid(&schema, &document);
        let error = &document["error"];
        assert_eq!(error["at"], "fleet.yaml:4:11");
        assert_eq!(error["problems"].as_array().unwrap().len(), 2, "{error}");
    }
}

#[test]
fn a_plan_is_a_comment_and_a_saved_one_says_when_it_was_made() {
    let desk = Desk::new();
    desk.fleet(HERE, "here/cpu");
    let planned = desk.rbee(&["plan", "--out", "it.plan"]).exits(0);
    let shown = desk.rbee(&["show", "it.plan"]).exits(0);
    let made = shown.out.strip_prefix(&planned.out).unwrap();
    let by = format!(" by rbee {}.\n", pool_core::VERSION);
    assert!(
        made.starts_with("This plan was made at 2") && made.ends_with(&by),
        "{made}"
    );
    let comment = desk.rbee(&["plan", "--markdown"]).exits(0);
    assert!(
        comment.out.starts_with(
            "### rbee plan: fleet `test`: 1 to install, 1 to copy (2.6 MB), 1 to spawn\n"
        ),
        "{}",
        comment.out
    );
    let shown = desk.rbee(&["show", "it.plan", "--markdown"]).exits(0);
    assert!(shown.out.contains("\nMade at `2"), "{}", shown.out);
    assert!(
        shown
            .out
            .contains("- `+` worker `chat/here/cpu/0` on `here`: `not there yet`\n")
    );
    assert_eq!(shown.out.lines().next(), comment.out.lines().next());
}
