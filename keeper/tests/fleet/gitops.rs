//! The repository of `examples/gitops`: the jobs of its workflows, with real pools.

mod files;
mod jobs;
#[path = "../../../examples/packages.rs"]
mod packages;
mod team;

use std::fs;

use serde_json::{Value, json};

use team::{Team, git};

const STAGING: &str = "<!-- rbee plan: staging -->";
const FLEET: &str = "staging/fleet.yaml";
const WORKER: &str = "chat/staging/cpu/0";

/// Names in secrets of the jobs must not come out of them.
#[track_caller]
fn tells_no_key(team: &Team, ran: super::Ran) {
    let key = fs::read_to_string(team.desk.lab.path("id")).unwrap();
    let line = key.lines().nth(1).unwrap();
    assert!(!format!("{ran:?}").contains(line), "{ran:?}");
}

/// What runs at the pool of staging: address, slots and process of each worker.
fn workers(team: &Team) -> Vec<Value> {
    let status = team.by_hand(&["status", "--json"]).json();
    let workers = status["pools"]["staging"]["workers"].as_array().unwrap();
    let seen = workers.iter();
    seen.map(|w| json!([w["address"], w["slots"], w["process"]]))
        .collect()
}

#[test]
fn what_a_pull_request_shows_is_what_its_merge_does_and_drift_is_found() {
    let team = Team::new();
    // More than a page of others, and one who would like to be edited.
    let others = json!(["hi", "ok", format!("{STAGING}\nno changes"), "ok"]).to_string();
    team.forge(&["--data", &others], "/seed");
    team.change("fewer", FLEET, "slots: 4", "slots: 2");
    let planned = team.github("plan", "staging", Some("fewer")).exits(0);
    tells_no_key(&team, planned);
    let mine = |team: &Team| {
        let mut all = team.comments(STAGING);
        all.retain(|(by, _)| by == "github-actions[bot]");
        let [(_, body)] = &all[..] else {
            panic!("{all:?}");
        };
        body.clone()
    };
    let first = mine(&team);
    assert!(
        first.contains("1 to spawn") && first.contains("`slots`: `2`"),
        "{first}"
    );
    team.change("fewer", FLEET, "slots: 2", "slots: 3");
    for environment in ["staging", "production"] {
        team.github("plan", environment, Some("fewer")).exits(0);
    }
    let edited = mine(&team);
    assert!(edited.contains("`slots`: `3`"), "{edited}");
    let impostor = (String::from("somebody"), format!("{STAGING}\nno changes"));
    assert!(team.comments(STAGING).contains(&impostor));
    assert_eq!(team.comments("<!-- rbee plan: production -->").len(), 1);
    assert!(!team.desk.lab.path("staging/home/catalog.json").exists());

    team.merge("fewer");
    team.github("apply", "staging", None)
        .exits(0)
        .says("Apply complete: 1 installed, 1 downloaded (2.6 MB), 1 spawned.");
    let applied = team.github("apply", "production", None).exits(0);
    tells_no_key(&team, applied.says("2 spawned."));
    team.github("drift", "staging", None).exits(0);
    team.github("drift", "production", None).exits(0);
    team.github("matrix", "staging", None)
        .exits(0)
        .says("Test: 1 passed, 0 failed, 0 not run.");

    team.by_hand(&["pool", "--pool", "staging", "worker", "stop", WORKER])
        .exits(0);
    team.github("drift", "staging", None)
        .exits(2)
        .says("chat/staging/cpu/0  (not there yet)")
        .says("::error title=rbee staging::the pools are not as staging/fleet.yaml says.");
    team.github("drift", "production", None).exits(0);
    team.github("matrix", "staging", None)
        .exits(1)
        .says("not run: capital of chat/staging/cpu/0");
    // Main is planned again, and comes back.
    team.github("plan", "staging", None)
        .exits(0)
        .says("1 to spawn");
    team.github("apply", "staging", None).exits(0);
    team.github("drift", "staging", None).exits(0);
}

#[test]
fn a_plan_that_is_stale_or_of_another_tree_moves_nothing() {
    let team = Team::new();
    team.github("plan", "staging", None).exits(0);
    team.github("apply", "staging", None).exits(0);
    team.change("fewer", FLEET, "slots: 4", "slots: 2");
    team.github("plan", "staging", Some("fewer")).exits(0);
    // Somebody changes what the plan is about.
    let pool = ["pool", "--pool", "staging", "worker", "stop", WORKER];
    team.by_hand(&pool).exits(0);
    team.merge("fewer");
    team.github("apply", "staging", None)
        .exits(6)
        .says("what runs at chat/staging/cpu/0")
        .says("error: staging: the plan is stale: a pool changed after it was made")
        .says("Plan main again");
    assert_eq!(workers(&team), Vec::<Value>::new());
    team.github("plan", "staging", None).exits(0);
    team.github("apply", "staging", None).exits(0);
    let before = workers(&team);
    assert_eq!(before[0][1], 2);

    // Main moves on after the plan was made.
    team.change("more", FLEET, "slots: 2", "slots: 8");
    team.change("words", "README.md", "# A fleet", "# Our fleet");
    team.github("plan", "staging", Some("more")).exits(0);
    team.merge("words");
    team.merge("more");
    team.github("apply", "staging", None)
        .exits(6)
        .says("error: staging: no plan was saved for tree");
    // What a fork calls a plan of this tree is none.
    let folder = team.clone();
    let tree = git(&folder, &["rev-parse", "HEAD^{tree}"]);
    fs::create_dir(folder.join("plans")).unwrap();
    fs::write(folder.join(format!("plans/staging-{tree}.plan")), "{}").unwrap();
    team.upload(&format!("plan-staging-{tree}"), &folder.join("plans"), true);
    team.github("apply", "staging", None)
        .exits(6)
        .says("error: staging: no plan was saved for tree");
    assert_eq!(workers(&team), before);
    team.github("plan", "staging", None).exits(0);
    team.github("apply", "staging", None).exits(0);
    assert_eq!(workers(&team)[0][1], 8);
}

#[test]
fn the_same_on_gitlab() {
    let team = Team::new();
    team.forge(
        &["--data", &json!(["hi", "ok", STAGING]).to_string()],
        "/seed",
    );
    team.change("fewer", FLEET, "slots: 4", "slots: 2");
    team.gitlab("plan", "staging", Some("fewer")).exits(0);
    team.change("fewer", FLEET, "slots: 2", "slots: 3");
    team.gitlab("plan", "staging", Some("fewer")).exits(0);
    let mut mine = team.comments(STAGING);
    mine.retain(|(by, _)| by == "rbee");
    assert!(
        mine.len() == 1 && mine[0].1.contains("`slots`: `3`"),
        "{mine:?}"
    );

    team.gitlab("apply-staging", "staging", None)
        .exits(6)
        .says("error: staging: no plan was saved for tree");
    team.merge("fewer");
    team.gitlab("apply-staging", "staging", None).exits(0);
    assert_eq!(workers(&team)[0][1], 3);
    team.gitlab("drift", "staging", None).exits(0);
    team.gitlab("matrix", "staging", None).exits(0);
    let pool = ["pool", "--pool", "staging", "worker", "stop", WORKER];
    team.by_hand(&pool).exits(0);
    team.gitlab("drift", "staging", None).exits(2);
    team.gitlab("plan", "staging", None).exits(0);
    team.gitlab("apply-staging", "staging", None).exits(0);
    team.gitlab("drift", "staging", None).exits(0);
}

#[test]
fn what_cannot_be_planned_is_said_in_the_comment_and_fails_the_job() {
    let team = Team::new();
    let said = || team.comments(STAGING).pop().unwrap().1;
    // A host key that is not pinned.
    team.change("unpinned", "ssh/known_hosts", "127.0.0.1", "127.0.0.2");
    team.github("plan", "staging", Some("unpinned")).exits(4);
    let body = said();
    assert!(body.contains("its host key is not known"), "{body}");
    assert!(body.contains("ended with exit code 4"), "{body}");
    // A model that nobody locked.
    let from = "hf:Qwen/Qwen2.5-0.5B-Instruct";
    team.change("unlocked", FLEET, from, "hf:Qwen/Another");
    team.github("plan", "staging", Some("unlocked")).exits(1);
    let body = said();
    assert!(body.contains("    error: fleet.lock lacks chat"), "{body}");
    assert!(body.contains("No plan was saved"), "{body}");
    // Programs that are not those which were meant.
    team.change("other", "ci/rbee.env", "SHA256=", "SHA256=0");
    let ran = team.github("plan", "staging", Some("other")).exits(1);
    assert!(!format!("{ran:?}").contains("rbee 0."), "{ran:?}");
    // No secret: a fork's, or one that nobody gave.
    let folder = team.clone();
    let script = folder.join("ci/plan.sh");
    let mut bare = std::process::Command::new("bash");
    bare.arg(script).arg("staging").env_remove("RBEE_SSH_KEY");
    bare.env_remove("RBEE_SSH_KEY_FILE");
    let ran: super::Ran = bare.output().unwrap().into();
    ran.exits(64)
        .says("error: staging: no SSH key: set RBEE_SSH_KEY");
}
