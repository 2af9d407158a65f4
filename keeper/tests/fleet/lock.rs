//! Models of the hub: looked up, locked, planned without it, and brought.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use local_hub::{Builder, Hub};
use serde_json::Value;

use super::{Desk, Ran, tiny};

/// One that has the tiny model as `org/tiny`, most of it as blobs.
fn hub() -> Builder {
    Hub::builder().repo("org/tiny", tiny()).lfs_over(1000)
}

/// A desk whose rbee talks to a hub.
pub(super) struct Office {
    pub(super) desk: Desk,
    hub: Option<Hub>,
    url: String,
}

impl Office {
    pub(super) fn new() -> Self {
        Self::of(hub())
    }

    pub(super) fn of(hub: Builder) -> Self {
        let hub = hub.start().unwrap();
        Self {
            desk: Desk::new(),
            url: hub.url().to_owned(),
            hub: Some(hub),
        }
    }

    pub(super) fn hub(&self) -> &Hub {
        self.hub.as_ref().unwrap()
    }

    /// A local pool with a worker of a model from this source.
    pub(super) fn fleet(&self, source: &str) {
        self.desk.write(&format!(
            "version: 1\nfleet: test\npools:\n  here: {{ connect: local, devices: [cpu] }}\n\
             models:\n  tiny: {{ source: \"{source}\" }}\n\
             workers:\n  chat: {{ model: tiny, on: [here/cpu] }}\n"
        ));
    }

    pub(super) fn rbee(&self, args: &[&str]) -> Ran {
        self.rbee_as(args, None)
    }

    pub(super) fn rbee_as(&self, args: &[&str], token: Option<&str>) -> Ran {
        let mut command = self.command(args);
        if let Some(token) = token {
            command.env("HF_TOKEN", token);
        }
        command.output().unwrap().into()
    }

    /// With the hub, and with no token of whoever runs the test.
    pub(super) fn command(&self, args: &[&str]) -> Command {
        let mut command = self.desk.command(args);
        command.env("HF_ENDPOINT", &self.url);
        command.env("HF_TOKEN_PATH", self.desk.path("no-token"));
        command.env_remove("HF_TOKEN");
        command
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.desk.path("fleet.lock")).unwrap()
    }

    /// The tiny model with a word more in its chat settings.
    fn other(&self) -> PathBuf {
        let folder = self.desk.path("other");
        fs::create_dir_all(&folder).unwrap();
        for entry in fs::read_dir(tiny()).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
        let config = folder.join("generation_config.json");
        let text = fs::read_to_string(&config).unwrap_or_else(|_| "{}".into());
        fs::write(&config, format!("{text} ")).unwrap();
        folder
    }
}

#[test]
fn a_lock_is_written_once_and_says_the_same_again() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    let commit = office.hub().commit("org/tiny").unwrap();
    let locked = office.rbee(&["lock"]).exits(0).says("new");
    let line = format!("tiny  hf:org/tiny  commit {}  ", &commit[..12]);
    assert!(locked.out.starts_with(&line), "{}", locked.out);
    let text = office.lock();
    assert!(text.contains(&commit), "{text}");
    office.rbee(&["lock"]).exits(0).says("unchanged");
    assert_eq!(office.lock(), text);

    let again = office.rbee(&["lock", "--json"]).exits(0).json();
    assert_eq!(again["written"], false);
    assert_eq!(again["models"][0]["change"], "unchanged");
    assert_eq!(again["models"][0]["commit"], commit.as_str());

    office.fleet(tiny().to_str().unwrap());
    office.rbee(&["lock"]).exits(0).says("removed");
    assert!(!office.lock().contains("tiny"), "{}", office.lock());
}

#[test]
fn a_plan_locks_what_is_not_locked_and_needs_no_hub_for_what_is() {
    let mut office = Office::new();
    office.fleet("hf:org/tiny");
    let commit = office.hub().commit("org/tiny").unwrap();
    let note = format!("note: locked tiny at {} (fleet.lock)", &commit[..12]);
    office
        .rbee(&["plan", "--locked"])
        .exits(1)
        .says("fleet.lock lacks tiny");
    assert!(!office.desk.path("fleet.lock").exists());
    let first = office
        .rbee(&["plan", "--detailed-exitcode"])
        .exits(2)
        .says(&note);
    office.rbee(&["plan", "--locked"]).exits(0);
    office.hub = None;
    let second = office.rbee(&["plan", "--detailed-exitcode"]).exits(2);
    assert!(!second.err.contains("note: locked"), "{}", second.err);
    assert_eq!(first.out, second.out);
    office.rbee(&["validate"]).exits(0);

    // Another source is not what was locked; without the hub it stays unknown, and is said to be.
    office.fleet("hf:org/tiny@main");
    let text = office.lock();
    let blocked = office.rbee(&["plan"]).exits(1);
    assert!(
        blocked.out.contains("blocked: here: model tiny"),
        "{}",
        blocked.out
    );
    assert_eq!(office.lock(), text);
}

#[test]
fn a_model_moves_when_it_is_told_to() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    office.rbee(&["lock"]).exits(0);
    let before = office.hub().commit("org/tiny").unwrap();
    let after = office.hub().push("org/tiny", office.other()).unwrap();
    assert_ne!(before, after);
    office.rbee(&["lock"]).exits(0).says("unchanged");
    assert!(office.lock().contains(&before));
    let from = format!("updated from {}", &before[..12]);
    office
        .rbee(&["lock", "--update", "tiny"])
        .exits(0)
        .says(&from);
    assert!(office.lock().contains(&after));
    office
        .rbee(&["lock", "--update", "tinny"])
        .exits(1)
        .says("there is no model `tinny` of the hub")
        .says("they are: tiny");
}

#[test]
fn other_content_under_a_locked_commit_is_an_error_and_the_lock_stays() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    office.rbee(&["lock"]).exits(0);
    let text = office.lock();
    let commit = office.hub().commit("org/tiny").unwrap();
    office.hub().replace("org/tiny", office.other()).unwrap();
    office
        .rbee(&["lock"])
        .exits(1)
        .says("model `tiny`: at commit")
        .says(&commit)
        .says("generation_config.json was ")
        .says("history was rewritten; `rbee lock --update tiny`");
    assert_eq!(office.lock(), text);
    office.rbee(&["lock", "--update", "tiny"]).exits(0);
    assert_ne!(office.lock(), text);
    office.rbee(&["lock"]).exits(0).says("unchanged");
}

#[test]
fn a_gated_model_names_its_page_and_the_token_never_shows() {
    let gated = hub().gated("org/tiny", "hf_secret").token("hf_stranger");
    let office = Office::of(gated);
    office.fleet("hf:org/tiny");
    let page = format!("{}/org/tiny", office.url);
    office.rbee(&["lock"]).exits(1).says(&page).says("HF_TOKEN");
    assert!(!office.desk.path("fleet.lock").exists());
    let refused = office
        .rbee_as(&["-vv", "lock"], Some("hf_stranger"))
        .exits(1)
        .says(&page);
    assert!(!refused.err.contains("hf_stranger"), "{}", refused.err);
    let locked = office.rbee_as(&["-vv", "lock"], Some("hf_secret")).exits(0);
    for said in [locked.out, locked.err, office.lock()] {
        assert!(!said.contains("hf_secret"), "{said}");
    }
    let applied = office
        .rbee_as(&["-vv", "apply", "--yes"], Some("hf_secret"))
        .exits(0);
    assert!(!format!("{}{}", applied.out, applied.err).contains("hf_secret"));
    let workers = office.desk.workers();
    assert_eq!(workers.len(), 1);
    let environment = fs::read(format!("/proc/{}/environ", workers[0])).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    assert!(!environment.contains("hf_secret"), "{environment}");
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn all_that_cannot_be_locked_is_told_and_the_rest_is_locked() {
    let office = Office::new();
    office.desk.write(
        "version: 1\nfleet: test\npools: {}\nmodels:\n  a: { source: hf:org/none }\n  \
         b: { source: hf:org/tiny }\n  c: { source: \"hf:org/tiny@no-such-branch\" }\n",
    );
    let locked = office
        .rbee(&["lock"])
        .exits(1)
        .says("model `a`")
        .says("model `c`");
    assert!(locked.out.starts_with("b  hf:org/tiny  "), "{}", locked.out);
    let lock: Value = serde_json::from_str(&office.lock()).unwrap();
    let names: Vec<&String> = lock["models"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["b"]);
}

#[test]
fn more_than_the_operator_lets_is_not_downloaded() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    office.rbee(&["lock"]).exits(0);
    office
        .rbee(&["plan", "--max-download", "1MB"])
        .exits(1)
        .says("the plan downloads 2.6 MB from the hub, and --max-download allows 1.0 MB")
        .says("Plan:");
    office.hub().forget_requests();
    office
        .rbee(&["apply", "--yes", "--max-download", "1MB"])
        .exits(1)
        .says("2.6 MB");
    assert_eq!(office.hub().requests().len(), 0);
    assert!(
        !office.desk.home().exists(),
        "a refused apply made something"
    );
    office
        .rbee(&["plan", "--max-download", "ten"])
        .exits(64)
        .says("`ten` is not a size");
}

#[test]
fn a_model_of_the_hub_is_brought_once_and_its_way_is_streamed() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    let planned = office.rbee(&["plan", "--json-stream"]).exits(0);
    let lines = |text: &str| -> Vec<Value> {
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    };
    let planned = lines(&planned.out);
    assert_eq!(
        (&planned[0]["type"], &planned[0]["format"]),
        (&"version".into(), &1.into())
    );
    assert_eq!(planned.last().unwrap()["type"], "summary");

    office.hub().forget_requests();
    let applied = office
        .rbee(&["apply", "--yes", "--json-stream", "--max-download", "10MB"])
        .exits(0);
    assert!(office.hub().blob_bytes() > 2_000_000);
    assert_eq!(office.hub().fetched_twice(), 0);
    let events = lines(&applied.out);
    let of = |kind: &'static str| events.iter().filter(move |event| event["type"] == kind);
    let ids = |kind: &'static str| -> Vec<u64> {
        let mut ids: Vec<u64> = of(kind)
            .map(|event| event["id"].as_u64().unwrap())
            .collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(events[0]["type"], "version");
    assert_eq!(ids("apply_start"), ids("planned_action"));
    assert_eq!(ids("apply_complete"), ids("planned_action"));
    let fetched = of("apply_progress").find(|event| event["done"].is_u64());
    let fetched = fetched.unwrap_or_else(|| panic!("{}", applied.out));
    for key in ["id", "pool", "action", "total", "message"] {
        assert!(!fetched[key].is_null(), "{key} in {fetched}");
    }
    let summary = events.last().unwrap();
    assert_eq!(
        (&summary["type"], &summary["exit"]),
        (&"summary".into(), &0.into())
    );
    assert_eq!(of("apply_errored").count(), 0);

    office
        .rbee(&["plan", "--detailed-exitcode"])
        .exits(0)
        .says("No changes");
    office.rbee(&["apply", "--json", "--json-stream"]).exits(64);
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn a_damaged_lock_stops_what_reads_it_and_nothing_else() {
    let office = Office::new();
    office.fleet("hf:org/tiny");
    fs::write(office.desk.path("fleet.lock"), "<<<<<<< HEAD\n").unwrap();
    for command in [&["validate"][..], &["plan"], &["lock"], &["apply", "--yes"]] {
        office
            .rbee(command)
            .exits(1)
            .says("fleet.lock:1:1")
            .says("delete it and run `rbee lock`, or restore it from git");
    }
    assert_eq!(office.lock(), "<<<<<<< HEAD\n");
    office
        .rbee(&["status"])
        .exits(1)
        .says("rbee is not installed");
    office.rbee(&["destroy", "--yes"]).exits(0);
}

#[test]
fn pools_take_from_each_other_what_the_hub_gave_once() {
    let office = Office::new();
    let _pools = ["one", "two"].map(|name| office.desk.lab.sshd(name));
    let pools = "  here: { connect: local, devices: [cpu] }\n  one: { connect: ssh://one, devices: [cpu] }\n  \
                 two: { connect: ssh://two, devices: [cpu] }\n";
    office.desk.write(&format!(
        "version: 1\nfleet: test\npools:\n{pools}models:\n  tiny: {{ source: hf:org/tiny }}\n\
         workers:\n  chat: {{ model: tiny, on: ['*/cpu'] }}\n"
    ));
    let applied = office.rbee(&["apply", "--yes"]).exits(0);
    assert_eq!(office.hub().fetched_twice(), 0, "{}", applied.err);
    let from = |place: &str| applied.err.matches(place).count();
    assert_eq!(
        (
            from("from the hub"),
            from("from other pools"),
            from("note: ")
        ),
        (1, 2, 1),
        "{}",
        applied.err
    );
    office.rbee(&["plan", "--detailed-exitcode"]).exits(0);

    // What is in a folder of this machine crosses to the others once, too.
    office.rbee(&["destroy", "--yes"]).exits(0);
    office.desk.fleet(pools, "'*/cpu'");
    let applied = office.rbee(&["apply", "--yes"]).exits(0);
    let from = |place: &str| applied.err.matches(place).count();
    assert_eq!(
        (from("from here"), from("from other pools")),
        (2, 1),
        "{}",
        applied.err
    );
    office.rbee(&["destroy", "--yes"]).exits(0);
}
