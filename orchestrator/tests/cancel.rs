//! Whoever wants no answer any more, and clients that leave.

use std::time::Duration;

use futures::StreamExt as _;
use mock_worker::Outcome;
use reqwest::{Method, StatusCode};
use serde_json::json;

use crate::support::{Daemon, client, eventually, whole, worker_with};

#[tokio::test]
async fn a_task_is_cancelled_both_ways_and_more_than_once() {
    let worker = worker_with("w1", |settings| {
        settings.rate = 20.0;
        settings.slots = 1;
    });
    let daemon = Daemon::before(&[&worker], &[]).await;
    let running = daemon.submit(json!({"max_tokens": 1000})).await;
    let queued = daemon.submit(json!({"max_tokens": 1000})).await;
    eventually("it runs", async || {
        worker.seen().jobs.iter().any(|job| job.tokens > 2)
    })
    .await;
    for (id, method, path) in [
        (&queued, Method::DELETE, ""),
        (&running, Method::POST, "/cancel"),
        (&running, Method::DELETE, ""),
    ] {
        let path = format!("/v2/tasks/{id}{path}");
        let answer = daemon.send(method, &path, None).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
    }
    for id in [&running, &queued] {
        let (_, last) = whole(&daemon.events(id, None).await);
        assert_eq!(
            (&last["type"], &last["code"]),
            (&json!("error"), &json!("CANCELLED"))
        );
        assert_eq!(daemon.state(id).await["status"], "cancelled");
    }
    eventually("the worker has ended it", async || {
        worker.seen().jobs[0].outcome != Outcome::Open
    })
    .await;
    assert_eq!(
        worker.seen().jobs.len(),
        1,
        "what waited never reached a worker"
    );
}

#[tokio::test]
async fn a_client_of_openais_that_leaves_cancels() {
    let worker = worker_with("w1", |settings| settings.rate = 20.0);
    let daemon = Daemon::before(&[&worker], &[]).await;
    for stream in [true, false] {
        let body =
            json!({"model": "tiny", "prompt": "Say it.", "max_tokens": 1000, "stream": stream});
        let request = client()
            .post(format!("{}/v1/completions", daemon.url))
            .json(&body);
        if stream {
            let mut chunks = request.send().await.unwrap().bytes_stream();
            chunks.next().await.unwrap().unwrap();
        } else {
            let asked = tokio::spawn(request.send());
            eventually("it runs", async || worker.seen().jobs.len() == 2).await;
            asked.abort();
        }
        eventually("the worker has ended it", async || {
            worker
                .seen()
                .jobs
                .last()
                .is_some_and(|job| job.outcome != Outcome::Open)
        })
        .await;
    }
    eventually("nothing runs", async || {
        daemon.json(Method::GET, "/health", None).await["tasks"]["running"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_task_whose_readers_have_left_has_a_grace() {
    let worker = worker_with("w1", |settings| settings.rate = 20.0);
    let daemon = Daemon::before(&[&worker], &["--grace", "0.5"]).await;
    let left = daemon.submit(json!({"max_tokens": 1000})).await;
    let alone = daemon.submit(json!({"max_tokens": 40})).await;
    let reader = client().get(format!("{}/v2/tasks/{left}/events", daemon.url));
    let mut stream = reader.send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();
    drop(stream);
    // One that comes back in time changes that.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let reader = client().get(format!("{}/v2/tasks/{left}/events", daemon.url));
    let mut stream = reader.send().await.unwrap().bytes_stream();
    stream.next().await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_ne!(daemon.state(&left).await["status"], "cancelled");
    drop(stream);
    daemon.is(&left, "cancelled").await;
    // Nobody ever followed this one.
    daemon.is(&alone, "completed").await;
}
