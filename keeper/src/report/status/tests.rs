//! Tables of a fleet that has everything.

use serde_json::{Value, json};

use reconciler::fleet::parse;
use reconciler::resolve::{Known, resolve};

use super::*;

fn worker(id: &str, fleet: Option<&str>, state: &str, alive: bool, answers: bool) -> Value {
    let digest = "5443b471a4371fca32a7279388f2a5e4fd46f4d9ab5e9107ca3fc608d9836522";
    let address = format!("{id}/workstation/cuda:0/0");
    json!({
        "version": 1, "id": id, "spec_hash": digest, "address": fleet.map(|_| address), "fleet": fleet,
        "model": "qwen-0.5b", "model_digest": digest, "device": "cuda:0", "slots": 4,
        "listen": "192.168.1.20:8001",
        "process": { "pid": 27406, "pid_started_at": 5, "boot_id": "b" },
        "started_at": "2026-01-01T00:00:00Z", "state": state, "log": "/log", "program": "/worker",
        "protect": true, "alive": alive, "answers": answers,
        "health": answers.then(|| json!({
            "slots": { "total": 4, "busy": 1 }, "memory": 1_200_000_000, "us_per_token": 25_000
        })),
    })
}

fn observed(workers: &[Value]) -> Observed {
    let device = |device: &str| {
        let memory = json!({ "total": 25_300_000_000_u64, "available": 13_200_000_000_u64 });
        json!({ "device": device, "name": "a device", "memory": memory })
    };
    let memory = json!({ "total": 64_000_000_000_u64, "available": 32_000_000_000_u64 });
    let value = json!({ "pools": {
        "workstation": {
            "state": "known", "hostname": "workstation.home.arpa",
            "platform": { "os": "Linux", "arch": "x86_64" }, "home": "/home", "hive_version": "1",
            "disk_free_bytes": 500_000_000_000_u64, "memory": memory,
            "devices": [device("cpu"), device("cuda:0")], "models": [], "workers": workers,
        },
        "spare": { "state": "bare", "platform": { "os": "Linux", "arch": "aarch64" } },
    }});
    serde_json::from_value(value).unwrap()
}

fn style(width: Option<usize>, unicode: bool) -> Style {
    Style {
        colour: false,
        width,
        unicode,
    }
}

/// What this fleet file asks for, with these workers.
fn declared(workers: &str) -> Desired {
    let text = format!(
        "version: 1\nfleet: home\npools:\n  workstation: {{ connect: local, devices: [cpu, \"cuda:1\"] }}\n  \
         spare: {{ connect: ssh://spare, devices: [cpu] }}\n\
         models: {{ tiny: {{ source: ./tiny }} }}\n{workers}"
    );
    let fleet = parse(&text).unwrap();
    resolve(&fleet, &Known::default()).unwrap()
}

fn home() -> Desired {
    declared("")
}

#[test]
fn everything_is_in_the_tables_with_its_owner() {
    let workers = [
        worker("chat", Some("home"), "ready", true, true),
        worker("theirs", Some("lab"), "ready", true, true),
        worker("tiny-1", None, "starting", true, false),
    ];
    let (desired, observed) = (home(), observed(&workers));
    let document = StatusDocument::new(&desired, &observed);
    assert_eq!((document.exit, document.problems.len()), (0, 0));
    let text = document.text(style(None, true));
    for part in [
        "workstation  up     workstation.home.arpa  cpu     ▕████░░░░▏ 12.1 of 25.3 GB  500.0 GB",
        "                                           cuda:0  ▕████░░░░▏ 12.1 of 25.3 GB\n",
        "spare        bare   Linux aarch64\n",
        "chat/workstation/cuda:0/0    workstation  ready     1/4    40.0   1.2 GB",
        "qwen-0.5b  lab        protected",
        "tiny-1                       workstation  starting  -/4",
        "(by hand)",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    let ascii = document.text(style(None, false));
    assert!(
        ascii.contains("[####....] 12.1 of 25.3 GB") && ascii.is_ascii(),
        "{ascii}"
    );
}

#[test]
fn eighty_columns_hold_what_matters_most() {
    let workers = [worker(
        "everywhere.qwen-0.5b",
        Some("home"),
        "ready",
        true,
        true,
    )];
    let (desired, observed) = (home(), observed(&workers));
    let document = StatusDocument::new(&desired, &observed);
    for width in [1, 7, 20, 40, 60, 80, 100] {
        let text = document.text(style(Some(width), true));
        let wide = text.lines().find(|line| line.chars().count() > width);
        assert_eq!(wide, None, "{width}");
    }
    let text = document.text(style(Some(80), true));
    for part in ["ready", "1/4", "home", "12.1 of 25.3 GB"] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn workers_stand_in_the_order_of_their_addresses_and_nothing_kept_has_no_column() {
    let mut all = Vec::new();
    for address in [
        "chat/workstation/cpu/10",
        "chat/workstation/cpu/2",
        "a/workstation/cpu/0",
    ] {
        let mut one = worker("x-1", Some("home"), "ready", false, false);
        one["address"] = address.into();
        one["device"] = "cpu".into();
        one["protect"] = false.into();
        all.push(one);
    }
    let mut by_hand = worker("a-1", None, "ready", true, true);
    by_hand["protect"] = false.into();
    by_hand["health"]
        .as_object_mut()
        .unwrap()
        .remove("us_per_token");
    all.insert(0, by_hand);
    let (desired, observed) = (home(), observed(&all));
    let document = StatusDocument::new(&desired, &observed);
    let text = document.text(style(None, true));
    let order = [
        "a/workstation/cpu/0",
        "chat/workstation/cpu/2",
        "chat/workstation/cpu/10",
    ];
    let places = |ends: &str| order.map(|name| text.find(&format!("{name}{ends}")).unwrap());
    assert!(
        places(" ").is_sorted() && places(": ").is_sorted(),
        "{text}"
    );
    let last = text.find("\na-1 ").unwrap();
    assert!(last > places(" ")[2], "{text}");
    assert!(!text.contains("KEPT"), "{text}");
    assert!(text.contains("ready  1/4    -      1.2 GB"), "{text}");
}

#[test]
fn a_worker_of_the_fleet_that_does_not_serve_is_said_and_counts() {
    let cases = [
        ("ready", false, false, "dead", 1),
        ("ready", true, false, "not answering", 1),
        ("failed", false, false, "failed", 1),
        ("starting", true, false, "starting", 0),
    ];
    for (state, alive, answers, word, exit) in cases {
        for (owner, exit) in [("home", exit), ("lab", 0)] {
            let observed = observed(&[worker("chat", Some(owner), state, alive, answers)]);
            let desired = home();
            let document = StatusDocument::new(&desired, &observed);
            assert_eq!(document.exit, exit, "{state} {owner}");
            let text = document.text(style(None, true));
            assert!(text.contains(&format!("  {word}")), "{text}");
            let told = text.contains(&format!("{word}: chat/workstation/cuda:0/0: "));
            assert_eq!(told, exit == 1, "{text}");
        }
    }
}

#[test]
fn what_is_declared_and_not_there_is_said_and_counts() {
    let observed = observed(&[worker("chat", Some("home"), "ready", true, true)]);
    let desired = declared("workers: { chat: { model: tiny, on: [workstation/cpu] } }\n");
    let document = StatusDocument::new(&desired, &observed);
    assert_eq!(document.exit, 1);
    assert_eq!(document.problems, ["chat/workstation/cpu/0 is missing"]);
    let text = document.text(style(None, true));
    let said = "missing: chat/workstation/cpu/0: `rbee apply` brings it\n";
    assert!(text.ends_with(said), "{text}");

    let desired = declared("workers: { chat: { model: tiny, on: [workstation/cuda:1] } }\n");
    let document = StatusDocument::new(&desired, &observed);
    assert_eq!(document.problems, ["chat/workstation/cuda:1/0 is missing"]);
    let text = document.text(style(None, true));
    let said = "missing: chat/workstation/cuda:1/0: there is no device cuda:1: it has ";
    assert!(text.contains(said), "{text}");

    let desired = declared("workers: { chat: { model: tiny, on: [spare/cpu] } }\n");
    let document = StatusDocument::new(&desired, &observed);
    assert_eq!(document.exit, 1);
    assert_eq!(document.problems, ["rbee is not installed on pool spare"]);

    // What only `rbee test` has is not missed.
    let ephemeral = "workers: { chat: { model: tiny, on: ['*/cpu'], ephemeral: true } }\n";
    let desired = declared(ephemeral);
    assert_eq!(StatusDocument::new(&desired, &observed).exit, 0);
}
