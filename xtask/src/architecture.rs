//! The walls between the crates, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::cargo;

/// Crates that do something: run tasks, talk, look at the clock or the disk, trace.
const RUNTIMES: &[&str] = &[
    "tokio",
    "async-std",
    "smol",
    "mio",
    "socket2",
    "hyper",
    "reqwest",
    "axum",
    "openssh",
    "clap",
    "tracing",
    "rustix",
    "tempfile",
    "chrono",
    "rand",
];

/// For each crate of ours, those of ours that it must not reach; the local hub and the mock worker
/// are for tests, and nothing shipped has them.
const WALLS: [(&str, &[&str]); 11] = [
    (
        "pool-core",
        &[
            "rbee-http",
            "reconciler",
            "rbee-keeper",
            "rbee-hive",
            "llm-worker-rbee",
            "orchestratord",
            "local-hub",
            "mock-worker",
        ],
    ),
    (
        "rbee-http",
        &[
            "reconciler",
            "rbee-keeper",
            "rbee-hive",
            "llm-worker-rbee",
            "orchestratord",
            "local-hub",
            "mock-worker",
        ],
    ),
    (
        "reconciler",
        &[
            "rbee-http",
            "rbee-keeper",
            "rbee-hive",
            "llm-worker-rbee",
            "orchestratord",
            "local-hub",
            "mock-worker",
        ],
    ),
    (
        "rbee-keeper",
        &[
            "rbee-http",
            "rbee-hive",
            "llm-worker-rbee",
            "orchestratord",
            "local-hub",
            "mock-worker",
        ],
    ),
    (
        "rbee-hive",
        &[
            "rbee-http",
            "reconciler",
            "rbee-keeper",
            "llm-worker-rbee",
            "orchestratord",
            "local-hub",
            "mock-worker",
        ],
    ),
    (
        "llm-worker-rbee",
        &[
            "reconciler",
            "rbee-keeper",
            "rbee-hive",
            "orchestratord",
            "local-hub",
            "mock-worker",
        ],
    ),
    (
        "orchestratord",
        &[
            "reconciler",
            "rbee-keeper",
            "rbee-hive",
            "llm-worker-rbee",
            "local-hub",
            "mock-worker",
        ],
    ),
    (
        "local-hub",
        &[
            "pool-core",
            "rbee-http",
            "reconciler",
            "rbee-keeper",
            "rbee-hive",
            "llm-worker-rbee",
            "orchestratord",
        ],
    ),
    (
        "mock-worker",
        &[
            "rbee-http",
            "reconciler",
            "rbee-keeper",
            "rbee-hive",
            "llm-worker-rbee",
            "orchestratord",
            "local-hub",
        ],
    ),
    // It writes what the command lines of all programs say.
    ("rbee-man", &["local-hub", "mock-worker"]),
    (
        "xtask",
        &[
            "pool-core",
            "rbee-http",
            "reconciler",
            "rbee-keeper",
            "rbee-hive",
            "llm-worker-rbee",
            "orchestratord",
        ],
    ),
];

/// For each package, the names of those that it is built from, however far down; not for tests or builds.
fn reached() -> BTreeMap<String, BTreeSet<String>> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--locked"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let name_of: BTreeMap<&str, &str> = list(&metadata["packages"])
        .iter()
        .map(|package| (text(&package["id"]), text(&package["name"])))
        .collect();
    let direct: BTreeMap<&str, Vec<&str>> = list(&metadata["resolve"]["nodes"])
        .iter()
        .map(|node| {
            let normal = |dep: &&Value| {
                list(&dep["dep_kinds"])
                    .iter()
                    .any(|kind| kind["kind"].is_null())
            };
            let deps = list(&node["deps"])
                .iter()
                .filter(normal)
                .map(|dep| text(&dep["pkg"]));
            (text(&node["id"]), deps.collect())
        })
        .collect();
    let mut all = BTreeMap::new();
    for member in list(&metadata["workspace_members"]) {
        let mut seen = BTreeSet::new();
        let mut open = vec![text(member)];
        while let Some(id) = open.pop() {
            let next = direct[id].iter().filter(|id| seen.insert(**id));
            open.extend(next.copied());
        }
        let names = seen.iter().map(|id| name_of[id].to_owned()).collect();
        all.insert(name_of[text(member)].to_owned(), names);
    }
    all
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn what_decides_depends_on_nothing_that_does() {
    let reached = reached();
    for name in ["pool-core", "reconciler"] {
        let found: Vec<_> = RUNTIMES
            .iter()
            .filter(|runtime| reached[name].contains(**runtime))
            .collect();
        assert!(found.is_empty(), "{name} reaches {found:?}");
    }
    // The list would find them where they are.
    assert!(reached["rbee-keeper"].contains("tokio") && reached["rbee-hive"].contains("rustix"));
}

#[test]
fn no_crate_reaches_past_its_walls() {
    let reached = reached();
    for (name, forbidden) in WALLS {
        let found: Vec<_> = forbidden
            .iter()
            .filter(|other| reached[name].contains(**other))
            .collect();
        assert!(found.is_empty(), "{name} reaches {found:?}");
    }
    assert_eq!(
        reached.len(),
        WALLS.len(),
        "a crate without walls: {:?}",
        reached.keys()
    );
}
