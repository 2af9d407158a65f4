//! Who may ask: the fleet's token, the keys of tenants, and what each may see.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use pool_core::digest::Sha256;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Daemon, eventually, store, task, text, whole, worker, worker_with};

const FLEET: &str = "the-token-of-the-fleet";

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    fn tenants(&self, tenants: &[(&str, &str, Value)]) -> PathBuf {
        let tenants = tenants.iter().map(|(name, key, quotas)| {
            json!({"name": name, "keys": [Sha256::of(key).to_string()], "quotas": quotas})
        });
        let tenants: Vec<Value> = tenants.collect();
        self.write("tenants.yaml", &json!({ "tenants": tenants }).to_string())
    }
}

#[tokio::test]
async fn tasks_of_one_tenant_are_not_there_for_another() {
    let files = Files::new();
    let tenants = files.tenants(&[("a", "key-of-a", json!({})), ("b", "key-of-b", json!({}))]);
    let tokens = files.write("tokens", FLEET);
    let worker = worker("w1");
    let url = worker.url();
    let args = [
        "--worker",
        &url,
        "--tenants",
        tenants.to_str().unwrap(),
        "--token-file",
        tokens.to_str().unwrap(),
    ];
    let daemon = Daemon::start(&args).with_token("key-of-a");
    daemon.ready(1).await;
    let id = daemon.submit(json!({})).await;
    assert_eq!(whole(&daemon.events(&id, None).await).0, text(16));

    let daemon = daemon.with_token("key-of-b");
    for (method, path) in [
        (Method::GET, format!("/v2/tasks/{id}")),
        (Method::GET, format!("/v2/tasks/{id}/events")),
        (Method::GET, format!("/v2/tasks/{id}/explain")),
        (Method::POST, format!("/v2/tasks/{id}/cancel")),
        (Method::DELETE, format!("/v2/tasks/{id}")),
    ] {
        let answer = daemon.send(method, &path, None).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
    }
    let register = daemon
        .send(Method::POST, "/v2/workers/register", Some(&json!({})))
        .await;
    assert_eq!(register.status(), StatusCode::FORBIDDEN);
    let daemon = daemon.with_token("nobodys-key");
    let answer = daemon
        .send(Method::POST, "/v2/tasks", Some(&task(json!({}))))
        .await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    // What one tenant computed is salted away from the other.
    let salts: Vec<Value> = worker
        .seen()
        .jobs
        .iter()
        .map(|job| job.request["cache_salt"].clone())
        .collect();
    assert_eq!(salts, [json!("a")]);
}

#[tokio::test]
async fn a_quota_is_not_exceeded_and_a_file_that_changes_counts_at_once() {
    let files = Files::new();
    let tenants = files.tenants(&[("a", "key-of-a", json!({"concurrent": 1}))]);
    let worker = worker_with("w1", |settings| settings.rate = 20.0);
    let url = worker.url();
    let daemon = Daemon::start(&["--worker", &url, "--tenants", tenants.to_str().unwrap()])
        .with_token("key-of-a");
    daemon.ready(1).await;
    let first = daemon.submit(json!({"max_tokens": 100})).await;
    let refused = daemon
        .send(Method::POST, "/v2/tasks", Some(&task(json!({}))))
        .await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        refused.json::<Value>().await.unwrap()["error"]["code"],
        "QUOTA_EXCEEDED"
    );
    // A file that cannot be read changes nothing.
    files.write("tenants.yaml", "tenants: [");
    tokio::time::sleep(std::time::Duration::from_millis(2500)).await;
    assert_eq!(daemon.state(&first).await["model"], "tiny");
    files.tenants(&[("a", "key-of-a", json!({"concurrent": 2}))]);
    eventually("the new quota counts", async || {
        let answer = daemon
            .send(Method::POST, "/v2/tasks", Some(&task(json!({}))))
            .await;
        answer.status() == StatusCode::ACCEPTED
    })
    .await;
}

#[tokio::test]
async fn a_quota_of_tokens_is_charged_with_what_the_worker_counts() {
    let files = Files::new();
    let tenants = files.tenants(&[("a", "key-of-a", json!({"tokens_per_minute": 10}))]);
    let worker = worker_with("w1", |_| {});
    let url = worker.url();
    let daemon = Daemon::start(&["--worker", &url, "--tenants", tenants.to_str().unwrap()])
        .with_token("key-of-a");
    daemon.ready(1).await;
    // Two tokens of the prompt and five of the answer, and nothing for what is not known.
    let first = daemon.submit(json!({"max_tokens": 5})).await;
    daemon.is(&first, "completed").await;
    assert_eq!(worker.seen().requests["POST /tokenize"], 1);
    let again = task(json!({"max_tokens": 5}));
    let refused = daemon.send(Method::POST, "/v2/tasks", Some(&again)).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[test]
fn a_listener_for_others_needs_a_token() {
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orchestratord"));
        let output = command.args(args).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, said) = run(&["--listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("not a loopback address") && said.contains("--token-file"),
        "{said}"
    );
    let (code, said) = run(&["--listen", "nowhere"]);
    assert_eq!(code, Some(64), "{said}");
    let (code, said) = run(&["--tenants", "/nowhere/tenants.yaml"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/nowhere/tenants.yaml"), "{said}");
}

#[tokio::test]
async fn what_an_interrupted_task_used_is_charged_to_its_tenant() {
    let worker = worker_with("w1", |settings| settings.rate = 100.0);
    let home = tempfile::tempdir().unwrap();
    let files = Files::new();
    let tenants = files.tenants(&[("a", "key", json!({"tokens_per_day": 2000}))]);
    let (url, tenants) = (worker.url(), tenants.to_str().unwrap());
    let args = [
        &store(home.path())[..],
        &["--worker", &url, "--tenants", tenants],
    ]
    .concat();
    let start = async || {
        let daemon = Daemon::start(&args).with_token("key");
        daemon.ready(1).await;
        daemon
    };
    let mut first = start().await;
    let id = first.submit(json!({"max_tokens": 1000})).await;
    eventually("tokens came", async || {
        worker.seen().jobs.iter().any(|job| job.tokens > 20)
    })
    .await;
    let explained = format!("/v2/tasks/{id}/explain");
    let explained = first.json(Method::GET, &explained, None).await;
    let tokens_in = explained["task"]["tokens_in"].as_u64().unwrap();
    first.kill();

    let mut second = start().await;
    let frames = second.events(&id, None).await;
    let sent = frames.iter().filter(|frame| frame.event == "token").count() as u64;
    assert!(sent > 20, "{sent}");
    let left = 2000 - (tokens_in + sent);
    let asks = async |daemon: &Daemon, max_tokens: u64| {
        let task = task(json!({"max_tokens": max_tokens}));
        let answer = daemon.send(Method::POST, "/v2/tasks", Some(&task)).await;
        answer.status()
    };
    let refused = StatusCode::TOO_MANY_REQUESTS;
    assert_eq!(asks(&second, left - tokens_in + 1).await, refused);
    // It is charged once, however often there is a restart.
    second.kill();
    let third = start().await;
    assert_eq!(asks(&third, left - tokens_in + 1).await, refused);
    assert_eq!(asks(&third, left - tokens_in).await, StatusCode::ACCEPTED);
}

/// What `check` refuses no orchestrator starts with, for the same reason, which is said once.
#[test]
fn a_file_that_cannot_be_used_is_told_by_check_as_by_one_that_serves() {
    let files = Files::new();
    let wrong = files.write("wrong.yaml", "tenants: [{ name: a }]");
    let script = files.write("wrong.rhai", "fn admit(s) { true }");
    let missing = files.0.path().join("missing");
    let good = files.tenants(&[("a", "key", json!({}))]);
    let said = |args: &[&str]| {
        let program = env!("CARGO_BIN_EXE_orchestratord");
        let output = Command::new(program).args(args).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), log)
    };
    for (kind, file, reason) in [
        ("tenants", &wrong, "wrong.yaml:1:11: a tenant has no `keys`"),
        ("policy", &script, "`admit` has to be"),
        ("tenants", &missing, "No such file"),
        ("policy", &missing, "No such file"),
    ] {
        let file = file.to_str().unwrap();
        let option = format!("--{kind}");
        let serve = [
            "--store",
            "memory",
            "--listen",
            "127.0.0.1:0",
            &option,
            file,
        ];
        for args in [&["check", kind, file][..], &serve] {
            let (code, log) = said(args);
            assert_eq!(code, Some(1), "{log}");
            assert_eq!(log.matches(reason).count(), 1, "{log}");
        }
    }
    let (code, log) = said(&["check", "tenants", good.to_str().unwrap()]);
    assert_eq!((code, &*log), (Some(0), ""));
}
