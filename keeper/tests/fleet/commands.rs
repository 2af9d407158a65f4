//! The commands that need no fleet, and how every command reports.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use super::Desk;
use crate::program;

#[test]
fn every_program_says_its_version_with_the_revision() {
    for name in ["rbee", "rbee-hive", "llm-worker-rbee", "orchestratord"] {
        let output = Command::new(program(name))
            .arg("--version")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text, format!("{name} {}\n", pool_core::VERSION));
        assert!(
            Command::new(program(name))
                .arg("--help")
                .output()
                .unwrap()
                .status
                .success()
        );
    }
}

#[test]
fn a_wrong_command_line_exits_with_64() {
    let desk = Desk::new();
    for args in [
        &["no-such-command"][..],
        &["plan", "--no-such-flag"],
        &["apply", "--parallelism", "0"],
        &["infer", "--prompt", "x"],
        &[],
    ] {
        desk.rbee(args).exits(64);
    }
    desk.rbee(&["pool"]).exits(64).says("Usage: rbee pool");
    desk.rbee(&["pool", "--help"])
        .exits(0)
        .says("Usage: rbee pool");
}

#[test]
fn init_writes_a_fleet_once_and_it_is_valid() {
    let desk = Desk::new();
    desk.rbee(&["plan"])
        .exits(1)
        .says("there is no fleet.yaml")
        .says("`rbee init` writes one");
    desk.rbee(&["init", "--fleet", "home", "--pool", "blep"])
        .exits(0);
    desk.rbee(&["validate"])
        .exits(0)
        .says("fleet.yaml is valid: 1 pool, 0 models, 0 workers, 0 checks");
    let before = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    desk.rbee(&["init"])
        .exits(1)
        .says("there is a fleet file already")
        .says("--> fleet.yaml");
    assert_eq!(fs::read_to_string(desk.path("fleet.yaml")).unwrap(), before);
    desk.rbee(&["init", "--fleet", "no spaces"])
        .exits(64)
        .says("a fleet name cannot hold ' '");
    desk.rbee(&["plan"]).exits(0).says("No changes");
}

#[test]
fn the_fleet_file_is_found_from_below_and_by_name() {
    let desk = Desk::new();
    desk.rbee(&["init", "--pool", "blep"]).exits(0);
    fs::create_dir_all(desk.path("a/b")).unwrap();
    let run = |args: &[&str]| {
        super::Ran::from(
            desk.command(args)
                .current_dir(desk.path("a/b"))
                .output()
                .unwrap(),
        )
    };
    run(&["validate"]).exits(0).says("fleet.yaml is valid");
    run(&["validate", "-f", "../../fleet.yaml"]).exits(0);
    run(&["-f", "nowhere.yaml", "validate"])
        .exits(1)
        .says("cannot read the fleet file")
        .says("--> nowhere.yaml");
}

#[test]
fn every_mistake_is_reported_at_once_for_people_and_programs() {
    let desk = Desk::new();
    desk.write("version: 1\nfleet: home\npools:\n  here: { conect: local, devices: [gpu] }\n");
    let ran = desk.rbee(&["validate"]).exits(1);
    assert!(ran.out.is_empty());
    for text in [
        "--> fleet.yaml:4:11",
        "help: did you mean `connect`?",
        "`gpu`",
        "fleet.yaml has",
    ] {
        assert!(ran.err.contains(text), "{text}: {}", ran.err);
    }
    assert!(!ran.err.contains('\x1b'), "colour off a terminal");
    let json = desk.rbee(&["validate", "--json"]).exits(1).json();
    let error = &json["error"];
    assert_eq!(error["exit"], 1);
    assert!(error["problems"].as_array().unwrap().len() >= 2);
    assert_eq!(error["problems"][0]["line"], 4);
}

#[test]
fn the_schema_is_printed() {
    let desk = Desk::new();
    let schema = desk.rbee(&["schema"]).exits(0);
    let committed = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/fleet.schema.json");
    assert_eq!(
        schema.json(),
        serde_json::from_str::<serde_json::Value>(&fs::read_to_string(committed).unwrap()).unwrap()
    );
}

#[test]
fn a_plan_as_json_says_what_the_text_says() {
    let desk = Desk::new();
    desk.fleet("  here: { connect: local, devices: [cpu] }\n", "here/cpu");
    let json = desk.rbee(&["plan", "--json"]).exits(0).json();
    let kinds: Vec<_> = json["plan"]["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|action| action["action"].clone())
        .collect();
    assert_eq!(kinds, ["install", "register", "fetch", "spawn"]);
    assert_eq!(json["totals"]["copy_bytes"], 2_604_361);
    assert_eq!(json["plan"]["actions"][3]["reason"]["code"], "not_there");
    let json = desk.rbee(&["apply", "--yes", "--json"]).exits(0).json();
    let statuses = json["statuses"].as_array().unwrap();
    assert!(
        statuses.len() == 4 && statuses.iter().all(|status| status["status"] == "done"),
        "{json}"
    );
}

#[test]
fn pool_gives_the_hives_own_exit_codes_and_arguments() {
    let desk = Desk::new();
    let _pool = desk.lab.sshd("one");
    desk.fleet("  here: { connect: local, devices: [cpu] }\n  one: { connect: ssh://one, devices: [cpu] }\n", "one/cpu");
    desk.rbee(&["pool", "status", "--pool", "one"])
        .exits(1)
        .says("`rbee apply` installs it");
    desk.rbee(&["apply", "--yes"]).exits(0);
    desk.rbee(&["pool", "status"]).exits(64).says("which pool?");
    desk.rbee(&["pool", "--pool", "on", "status"])
        .exits(1)
        .says("there is no pool `on`")
        .says("here, one");
    desk.rbee(&["pool", "models", "list", "--pool", "one"])
        .exits(0)
        .says("tiny");
    desk.rbee(&["pool", "models", "--pool=one", "unregister", "no-such"])
        .exits(1);
    desk.rbee(&["pool", "--pool", "one", "no-such-command"])
        .exits(64);
    let name = "weird; touch pwned $(touch pwned) 'q\"";
    desk.rbee(&["pool", "--pool", "one", "models", "unregister", name])
        .exits(64);
    let json = desk
        .rbee(&["pool", "worker", "list", "--pool", "one", "--json"])
        .exits(0);
    assert!(json.json().is_array() || json.json().is_object());
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn infer_says_whom_one_may_ask_and_once_what_is_refused() {
    let desk = Desk::new();
    desk.fleet("  here: { connect: local, devices: [cpu] }\n", "here/cpu");
    let ask = |about: [&str; 2], more: &[&str]| {
        let args = [&["infer"], &about[..], &["--prompt", "Hello"], more].concat();
        desk.rbee(&args).exits(1)
    };
    ask(["--model", "tiny"], &[])
        .says("error: no worker serves model `tiny` now")
        .says("help: `rbee apply` spawns the workers of the fleet");
    ask(["--model", "nope"], &[])
        .says("error: the fleet has no model `nope`")
        .says("help: its models are: tiny\n");
    desk.rbee(&["apply", "--yes"]).exits(0);
    let text = fs::read_to_string(desk.path("fleet.yaml")).unwrap();
    let source = super::tiny().display().to_string();
    let more = format!("  other: {{ source: {source} }}\nworkers:\n");
    desk.write(&text.replace("workers:\n", &more));
    ask(["--model", "other"], &[])
        .says("error: no worker serves model `other` now")
        .says("help: these models are served: tiny\n");
    ask(["--model", "nope"], &[]).says("help: its models are: other, tiny\n");
    ask(["--worker", "nope"], &[]).says("help: these do: chat/here/cpu/0\n");
    let refused = ask(["--worker", "chat"], &["--temperature", "9"]);
    assert_eq!(
        refused.err.matches("temperature").count(),
        1,
        "{}",
        refused.err
    );
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_question_on_a_terminal_is_only_answered_by_yes() {
    let desk = Desk::new();
    desk.fleet("  here: { connect: local, devices: [cpu] }\n", "here/cpu");
    for (answer, code, done) in [("y\n", 1, false), ("yes\n", 0, true)] {
        // `script` gives the command a terminal of its own.
        let command = format!("{} apply", program("rbee").display());
        let mut child = Command::new("script")
            .args(["-qec", &command, "/dev/null"])
            .current_dir(desk.path(""))
            .env("RBEE_HOME", desk.home())
            .env("TERM", "xterm")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(answer.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains("Do this? Only `yes` goes on"), "{text}");
        assert_eq!(desk.home().join("catalog.json").exists(), done, "{text}");
    }
    desk.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_home_that_cannot_be_one_makes_nothing() {
    let desk = Desk::new();
    desk.fleet("  here: { connect: local, devices: [cpu] }\n", "here/cpu");
    let run = |args: &[&str], variables: [(&str, &str); 2]| {
        let mut command = desk.command(args);
        command.env_remove("XDG_DATA_HOME").envs(variables);
        super::Ran::from(command.output().unwrap())
    };
    for args in [
        &["apply", "--yes"][..],
        &["plan"],
        &["drift"],
        &["status"],
        &["infer", "--worker", "chat", "--prompt", "x"],
        &["pool", "status"],
        &["import"],
    ] {
        run(args, [("RBEE_HOME", "a/home"), ("HOME", "/")])
            .exits(1)
            .says("error: RBEE_HOME is a relative path: a/home")
            .says("help: let RBEE_HOME name the folder from / on");
    }
    assert!(!desk.path("a").exists());
    run(&["apply", "--yes"], [("RBEE_HOME", ""), ("HOME", "")])
        .exits(4)
        .says("HOME: is not set");
}
