//! `rbee test`: the shipped matrix on two pools, and what becomes of cells that do not pass.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command};

use serde_json::Value;

use super::{Desk, Ran, end, tiny};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/test-matrix");

/// A fleet of one local pool, with these workers and checks.
fn fleet(desk: &Desk, model: &str, workers: &str, checks: &str) {
    desk.write(&format!(
        "version: 1\nfleet: test\npools:\n  here: {{ connect: local, devices: [cpu] }}\n\
         models:\n  tiny: {{ source: {}{model} }}\nworkers:\n{workers}checks:\n{checks}",
        tiny().display()
    ));
}

const CHAT: &str = "  chat: { model: tiny, on: [here/cpu] }\n";
const EPHEMERAL: &str = "  chat: { model: tiny, on: [here/cpu], ephemeral: true }\n";
const CAPITAL: &str = "  capital: { prompt: What is the capital of France?, expect: Paris }\n";

/// The cells of a run: check, worker, outcome, and whether it was kept.
fn cells(results: &Value) -> Vec<(String, String, String, bool)> {
    let cells = results["cells"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    cells
        .map(|cell| {
            let [check, worker, outcome] =
                ["check", "worker", "outcome"].map(|key| text(&cell[key]));
            (check, worker, outcome, cell["kept"] == true)
        })
        .collect()
}

/// Whether any worker runs on a pool.
fn workers(desk: &Desk, args: &[&str]) -> usize {
    let args = [args, &["status", "--json"]].concat();
    let status = desk.rbee(&args).json();
    let pools = status["pools"].as_object().unwrap().values();
    pools
        .map(|pool| pool["workers"].as_array().map_or(0, Vec::len))
        .sum()
}

/// A page with what differs from run to run left out: numbers, dates, versions and builds.
fn lasting(page: &str) -> String {
    let mut text = String::new();
    for line in page.lines().map(|line| match line.split_once(" (rbee ") {
        Some((before, rest)) => {
            let after = rest.split_once(')').unwrap().1;
            format!("{}{after}", before.rsplit_once(" on ").unwrap().0)
        }
        None => line.to_owned(),
    }) {
        let mut cells: Vec<&str> = line.split(" | ").collect();
        match cells.len() {
            9 => drop(cells.drain(3..)),
            3 => drop(cells.pop()),
            _ => {}
        }
        text += &(cells.join(" | ") + "\n");
    }
    text
}

#[test]
fn the_tiny_matrix_passes_on_two_pools_and_is_asked_again_only_where_something_changed() {
    let desk = Desk::new();
    let _pools = ["one", "two"].map(|name| desk.lab.sshd(name));
    let text = fs::read_to_string(format!("{EXAMPLES}/tiny.yaml")).unwrap();
    let models = tiny().parent().unwrap().display().to_string();
    desk.write(&text.replace("../models", &models));
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);

    let junit = desk.path("junit.xml");
    let junit = junit.to_str().unwrap();
    let first = desk
        .rbee(&["test", "--save", "--junit", junit, "--json"])
        .exits(0);
    super::output::valid(&super::output::schema("test"), &first.json());
    let asked = cells(&first.json());
    assert_eq!(asked.len(), 4 * 2 * 2, "{asked:?}");
    assert!(
        asked
            .iter()
            .all(|(.., outcome, kept)| outcome == "passed" && !kept),
        "{asked:?}"
    );
    for cell in first.json()["cells"].as_array().unwrap() {
        let measured = &cell["tested"]["measured"];
        for number in ["first_token_ms", "load_ms", "memory"] {
            assert!(measured[number].as_f64().unwrap() > 0.0, "{number}: {cell}");
        }
    }
    assert_eq!(workers(&desk, &[]), 0);
    let page = fs::read_to_string(desk.path("MODEL_SUPPORT.md")).unwrap();
    let shipped = format!("{EXAMPLES}/MODEL_SUPPORT.md");
    if std::env::var_os("RBEE_UPDATE_DOCS").is_some() {
        fs::write(&shipped, &page).unwrap();
    }
    let shipped = fs::read_to_string(shipped).unwrap();
    assert_eq!(
        lasting(&page),
        lasting(&shipped),
        "RBEE_UPDATE_DOCS=1 writes it anew"
    );
    let xml = fs::read_to_string(junit).unwrap();
    assert_eq!(xml.matches("<testcase ").count(), 16, "{xml}");
    assert!(
        xml.contains(r#" tests="16" "#) && !xml.contains("<failure"),
        "{xml}"
    );

    let again = desk
        .rbee(&["test", "--stale-only", "--json"])
        .exits(0)
        .json();
    assert!(cells(&again).iter().all(|(.., kept)| *kept), "{again}");
    let changed = text
        .replace("../models", &models)
        .replace("2 + 3", "2 + 2")
        .replace(r"^\s*5", r"^\s*4");
    desk.write(&changed);
    let again = desk
        .rbee(&["test", "--stale-only", "--json"])
        .exits(0)
        .json();
    for (check, worker, outcome, kept) in cells(&again) {
        assert_eq!(
            (outcome.as_str(), kept),
            ("passed", check == "capital"),
            "{check} {worker}"
        );
    }
    let same = desk
        .rbee(&["test", "--compare", "cpu,cpu", "--json"])
        .exits(0)
        .json();
    let compared = same["compared"].as_array().unwrap();
    assert_eq!(compared.len(), 4, "{same}");
    for model in compared {
        assert_eq!(
            (&model["largest"], &model["other_tokens"]),
            (&0.0.into(), &0.into()),
            "{model}"
        );
        assert!(model["places"].as_u64().unwrap() >= 10, "{model}");
        assert!(model["tokens"].as_u64().unwrap() > 0, "{model}");
    }
    assert_eq!(workers(&desk, &[]), 0);
}

#[test]
fn a_wrong_answer_fails_and_what_is_not_there_is_not_run() {
    let desk = Desk::new();
    let wrong = "  sum: { prompt: What is 2 + 3?, expect: Berlin }\n";
    fleet(&desk, "", CHAT, &format!("{CAPITAL}{wrong}"));
    let none = desk.rbee(&["test", "--json"]).exits(1).json();
    assert!(
        cells(&none)
            .iter()
            .all(|(.., outcome, _)| outcome == "not_run"),
        "{none}"
    );
    desk.rbee(&["apply", "--yes"]).exits(0);
    let junit = desk.path("junit.xml");
    desk.rbee(&["test", "--junit", junit.to_str().unwrap()])
        .exits(5)
        .says("capital  chat/here/cpu/0")
        .says("expected \"Berlin\", the answer is \"5\"")
        .says("Test: 1 passed, 1 failed, 0 not run.");
    let xml = fs::read_to_string(junit).unwrap();
    assert!(xml.contains(r#"<failure message="expected"#), "{xml}");
    desk.rbee(&["test", "--check", "cap*"])
        .exits(0)
        .says("1 passed, 0 failed, 0 not run");
    desk.rbee(&["test", "--check", "nothing"]).exits(64);
    // The worker that was there before is there still.
    assert_eq!(workers(&desk, &[]), 1);
}

#[test]
fn a_pool_that_does_not_answer_is_told_and_the_others_are_asked() {
    let desk = Desk::new();
    desk.write(&format!(
        "version: 1\nfleet: test\npools:\n  far: {{ connect: ssh://127.0.0.1:1, devices: [cpu] }}\n  \
         here: {{ connect: local, devices: [cpu] }}\nmodels:\n  tiny: {{ source: {} }}\n\
         workers:\n  chat: {{ model: tiny, on: ['*/cpu'], ephemeral: true }}\nchecks:\n{CAPITAL}",
        tiny().display()
    ));
    let results = desk.rbee(&["test", "--json"]).exits(4).json();
    let found: Vec<_> = cells(&results)
        .into_iter()
        .map(|(_, worker, outcome, _)| (worker, outcome))
        .collect();
    let pair = |worker: &str, outcome: &str| (worker.to_owned(), outcome.to_owned());
    let expected = [
        pair("chat/far/cpu/0", "not_run"),
        pair("chat/here/cpu/0", "passed"),
    ];
    assert_eq!(found, expected);
}

#[test]
fn a_worker_that_does_not_become_ready_fails_its_cells_and_nothing_is_left() {
    let desk = Desk::new();
    let canary = ", canary: { prompt: What is 2 + 3?, expect: Berlin }";
    fleet(&desk, canary, EPHEMERAL, CAPITAL);
    desk.rbee(&["test"])
        .exits(5)
        .says("fail: capital of chat/here/cpu/0: ready: spawn chat/here/cpu/0")
        .says("Berlin");
    assert_eq!(workers(&desk, &[]), 0);
}

/// A run whose ephemeral worker is there and is asked.
fn begun(desk: &Desk) -> Child {
    let model = desk.path("model");
    if !model.exists() {
        super::door::endless(desk);
    }
    desk.write(&format!(
        "version: 1\nfleet: test\npools:\n  here: {{ connect: local, devices: [cpu] }}\n\
         models:\n  tiny: {{ source: {} }}\nworkers:\n{EPHEMERAL}checks:\n  \
         long: {{ prompt: What is 2 + 3?, max_tokens: 19000 }}\n",
        model.display()
    ));
    let mut run = desk.command(&["test", "--save"]).spawn().unwrap();
    let lines = BufReader::new(run.stderr.take().unwrap()).lines();
    let ready = lines
        .map_while(Result::ok)
        .find(|line| line.contains("done: ready at"));
    assert!(ready.is_some(), "the worker was never ready");
    run
}

#[test]
fn an_interrupted_run_leaves_no_worker_and_a_killed_one_is_cleared_up_after() {
    let desk = Desk::new();
    let run = begun(&desk);
    let pid = run.id().to_string();
    Command::new("kill").args(["-INT", &pid]).status().unwrap();
    Ran::from(run.wait_with_output().unwrap()).exits(130);
    assert_eq!(workers(&desk, &[]), 0);
    assert!(!desk.path("MODEL_SUPPORT.md").exists());

    let mut run = begun(&desk);
    end(run.id());
    run.wait().unwrap();
    assert_eq!(workers(&desk, &[]), 1);
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 stopped");
    assert_eq!(workers(&desk, &[]), 0);
}
