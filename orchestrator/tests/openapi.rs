//! The orchestrator as schemathesis sees it, with the orchestrator's own description.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::openai::scripts;
use crate::packages::{self, run};
use crate::support::{Daemon, worker_with};

const TOKEN: &str = "a-token-of-the-tests";

/// All endpoints but `/v2/workers/register`, which would change the fleet that the others are asked about.
#[tokio::test]
async fn schemathesis_finds_no_failure() {
    let requirements = scripts("../../worker/tests/python").join("requirements.txt");
    let python = packages::python("python-clients", &requirements);
    let worker = worker_with("w1", |settings| settings.rate = 0.0);
    let work = tempfile::tempdir().unwrap();
    let tokens = work.path().join("tokens");
    fs::write(&tokens, TOKEN).unwrap();
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).unwrap();
    let answers = work.path().join("answers");
    let (url, tokens) = (worker.url(), tokens.to_str().unwrap());
    let daemon = Daemon::start(&["--worker", &url, "--token-file", tokens]).with_token(TOKEN);
    daemon.ready(1).await;
    run(Command::new(python.join("st"))
        .arg("run")
        .arg(format!("{}/openapi.json", daemon.url))
        .arg(format!("--header=Authorization: Bearer {TOKEN}"))
        .args([
            "--exclude-path=/v2/workers/register",
            "--exclude-checks=positive_data_acceptance",
            "--max-examples=30",
            "--seed=1",
            "--request-timeout=60",
            "--continue-on-failure",
            "--no-color",
        ])
        .env("SCHEMATHESIS_HOOKS", scripts("python").join("hooks.py"))
        .env("ORCHESTRATOR_URL", &daemon.url)
        .env("ORCHESTRATOR_TOKEN", TOKEN)
        .env("ORCHESTRATOR_ANSWERS", &answers)
        .env(
            "PYTHONPATH",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"),
        )
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(work.path()));
    let answers = fs::read_to_string(answers).unwrap();
    for (operation, good) in [
        ("GET /v2/tasks/{id}", 200),
        ("GET /v2/tasks/{id}/events", 200),
        ("GET /v2/tasks/{id}/explain", 200),
        ("POST /v2/tasks/{id}/cancel", 202),
        ("DELETE /v2/tasks/{id}", 202),
    ] {
        let count = |status: u16| {
            let line = format!("{operation} {status}");
            answers.lines().filter(|answer| **answer == line).count()
        };
        let (found, missing) = (count(good), count(404));
        assert!(found > 5, "{operation} was answered well {found} times");
        assert!(missing > 0, "{operation} always met a task");
    }
}
