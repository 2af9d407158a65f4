//! `kill -9`, restarts and the end.

use mock_worker::Faults;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Daemon, eventually, store, text, whole, worker_with};

#[tokio::test]
async fn no_accepted_task_is_lost_when_the_orchestrator_is_killed() {
    let worker = worker_with("w1", |settings| {
        settings.slots = 1;
        settings.rate = 50.0;
    });
    let home = tempfile::tempdir().unwrap();
    let args = store(home.path());
    let mut first = Daemon::before(&[&worker], &args).await;
    let done = first.submit(json!({"max_tokens": 2})).await;
    first.is(&done, "completed").await;
    let running = first.submit(json!({"max_tokens": 1000})).await;
    let queued = first.submit(json!({"max_tokens": 3})).await;
    let later = first
        .submit(json!({"max_tokens": 4, "priority": "batch"}))
        .await;
    eventually("the worker computes it", async || {
        first.state(&running).await["status"] == "running"
    })
    .await;
    let seen = {
        let worker = &worker;
        eventually("the worker has sent some", async || {
            worker
                .seen()
                .jobs
                .iter()
                .any(|job| job.tokens > 5 && job.request["max_tokens"] == 1000)
        })
        .await;
        first.state(&running).await
    };
    assert_ne!(seen["status"], "completed");
    first.kill();

    let second = Daemon::before(&[&worker], &args).await;
    let (said, last) = whole(&second.events(&running, None).await);
    assert!(!said.is_empty() && text(1000).starts_with(&said));
    assert_eq!(
        (&last["type"], &last["retriable"]),
        (&json!("error"), &json!(true))
    );
    assert!(
        last["message"].as_str().unwrap().contains("restarted"),
        "{last}"
    );
    assert_eq!(whole(&second.events(&queued, None).await).0, text(3));
    assert_eq!(whole(&second.events(&later, None).await).0, text(4));
    assert_eq!(whole(&second.events(&done, None).await).0, text(2));
}

#[tokio::test]
async fn a_task_that_had_sent_no_token_runs_again() {
    let worker = worker_with("w1", |settings| settings.slots = 1);
    worker.set_faults(Faults {
        hang: true,
        ..Faults::default()
    });
    let home = tempfile::tempdir().unwrap();
    let args = store(home.path());
    let mut first = Daemon::before(&[&worker], &args).await;
    let id = first.submit(json!({})).await;
    eventually("the worker has it", async || worker.seen().jobs.len() == 1).await;
    first.kill();
    worker.set_faults(Faults::default());
    let second = Daemon::before(&[&worker], &args).await;
    assert_eq!(whole(&second.events(&id, None).await).0, text(16));
}

#[tokio::test]
async fn two_orchestrators_do_not_share_a_store() {
    let home = tempfile::tempdir().unwrap();
    let args = store(home.path());
    let first = Daemon::start(&args);
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_orchestratord"))
        .args(["--listen", "127.0.0.1:0"])
        .args(args)
        .output()
        .unwrap();
    let said = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("in use") && said.contains("help:"), "{said}");
    drop(first);
}

#[tokio::test]
async fn asked_to_end_it_finishes_what_runs_and_keeps_what_waits() {
    let worker = worker_with("w1", |settings| {
        settings.slots = 1;
        settings.rate = 50.0;
    });
    let home = tempfile::tempdir().unwrap();
    let args = store(home.path());
    let first = Daemon::before(&[&worker], &args).await;
    let running = first.submit(json!({"max_tokens": 30})).await;
    let waiting = first.submit(json!({"max_tokens": 3})).await;
    eventually("it runs", async || worker.seen().jobs.len() == 1).await;
    first.signal("TERM");
    eventually("it drains", async || {
        first.send(Method::GET, "/ready", None).await.status() == StatusCode::SERVICE_UNAVAILABLE
    })
    .await;
    let refused = first
        .send(
            Method::POST,
            "/v2/tasks",
            Some(&crate::support::task(json!({}))),
        )
        .await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    let (said, _) = whole(&first.events(&running, None).await);
    assert_eq!(said, text(30));
    assert_eq!(first.exit_code(), Some(0));
    let second = Daemon::before(&[&worker], &args).await;
    assert_eq!(whole(&second.events(&waiting, None).await).0, text(3));
}
