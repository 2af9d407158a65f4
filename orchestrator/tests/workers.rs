//! Workers that register by themselves.

use mock_worker::MockWorker;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Daemon, eventually, text, whole, worker};

fn registration(worker: &MockWorker, status: &str) -> Value {
    json!({
        "worker_id": "w1", "address": "chat/box/cpu/0", "fleet": "home", "url": worker.url(), "model": "tiny",
        "device": "cpu", "status": status, "slots": {"total": 4, "busy": 0},
        "memory": {"weights": 1, "kv": 1, "total": 2}, "context_length": 4096, "version": "test",
    })
}

#[tokio::test]
async fn a_worker_registers_serves_drains_and_comes_back() {
    let worker = worker("w1");
    let daemon = Daemon::start(&[]);
    let nobody = daemon
        .send(
            Method::POST,
            "/v2/tasks",
            Some(&crate::support::task(json!({}))),
        )
        .await;
    assert_eq!(nobody.status(), StatusCode::SERVICE_UNAVAILABLE);
    let model = async |name: &str| {
        let path = format!("/v1/models/{name}");
        daemon.send(Method::GET, &path, None).await
    };
    let nobody = model("tiny").await;
    assert_eq!(nobody.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(nobody.headers()["retry-after"], "15");
    assert_eq!(model("NO MODEL").await.status(), StatusCode::NOT_FOUND);

    let path = "/v2/workers/register";
    let answer = daemon
        .json(Method::POST, path, Some(&registration(&worker, "ready")))
        .await;
    assert_eq!(answer["heartbeat_ms"], 15_000);
    daemon.ready(1).await;
    assert_eq!(model("tiny").await.status(), StatusCode::OK);
    assert_eq!(model("other").await.status(), StatusCode::NOT_FOUND);
    let id = daemon.submit(json!({})).await;
    assert_eq!(whole(&daemon.events(&id, None).await).0, text(16));
    let workers = daemon.json(Method::GET, "/v2/workers", None).await;
    assert_eq!(workers["workers"][0]["id"], "chat/box/cpu/0");
    let pools = daemon.json(Method::GET, "/v2/pools", None).await;
    assert_eq!(
        (
            &pools["pools"]["box"]["slots"],
            &pools["pools"]["box"]["ready"]
        ),
        (&json!(4), &json!(1))
    );

    let drain = |drained: bool| json!({"worker": "chat/box/cpu/0", "drained": drained});
    let done = daemon
        .send(Method::POST, "/v2/workers/drain", Some(&drain(true)))
        .await;
    assert_eq!(done.status(), StatusCode::NO_CONTENT);
    let refused = daemon
        .send(
            Method::POST,
            "/v2/tasks",
            Some(&crate::support::task(json!({}))),
        )
        .await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    daemon
        .send(Method::POST, "/v2/workers/drain", Some(&drain(false)))
        .await;
    let id = daemon.submit(json!({})).await;
    assert_eq!(whole(&daemon.events(&id, None).await).0, text(16));
}

#[tokio::test]
async fn workers_of_another_fleet_are_sent_away() {
    let worker = worker("w1");
    let daemon = Daemon::start(&["--fleet", "office"]);
    let path = "/v2/workers/register";
    let mut own = registration(&worker, "ready");
    let answer = daemon.send(Method::POST, path, Some(&own)).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    own["fleet"] = json!("office");
    let answer = daemon.send(Method::POST, path, Some(&own)).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_registration_that_makes_no_sense_is_refused() {
    let worker = worker("w1");
    let daemon = Daemon::start(&[]);
    for (field, value) in [
        ("url", json!("https://x")),
        ("model", json!("a b")),
        ("slots", json!(3)),
    ] {
        let mut wrong = registration(&worker, "ready");
        wrong[field] = value;
        let answer = daemon
            .send(Method::POST, "/v2/workers/register", Some(&wrong))
            .await;
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{field}");
    }
    eventually("nobody is known", async || {
        daemon.json(Method::GET, "/v2/workers", None).await["workers"] == json!([])
    })
    .await;
}
