//! `/v2/tasks`: what is accepted, what is told, how a reader resumes.

use futures::StreamExt as _;
use pool_core::serving::SseParser;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::support::{Daemon, client, eventually, task, text, whole, worker, worker_with};

#[tokio::test]
async fn a_task_is_accepted_runs_and_tells_all() {
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &[]).await;
    let answer = daemon
        .send(Method::POST, "/v2/tasks", Some(&task(json!({}))))
        .await;
    assert_eq!(answer.status(), StatusCode::ACCEPTED);
    let accepted: Value = answer.json().await.unwrap();
    assert_eq!(
        (&accepted["status"], &accepted["queue_position"]),
        (&json!("queued"), &json!(0))
    );
    let id = accepted["job_id"].as_str().unwrap();
    let frames = daemon.events(id, None).await;
    let kinds: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(kinds[..3], ["queued", "started", "token"]);
    let (said, end) = whole(&frames);
    assert_eq!(said, text(16));
    assert_eq!(
        (&end["type"], &end["tokens_out"]),
        (&json!("end"), &json!(16))
    );
    let state = daemon.state(id).await;
    assert_eq!(
        (&state["status"], &state["attempts"]),
        (&json!("completed"), &json!(1))
    );

    let explained = daemon
        .json(Method::GET, &format!("/v2/tasks/{id}/explain"), None)
        .await;
    let candidates = &explained["attempts"][0]["decision"]["candidates"];
    assert_eq!(candidates.as_array().unwrap().len(), 1);
    // What the worker was asked is what the client asked, under a name of the orchestrator's.
    let seen = worker.seen();
    assert_eq!(seen.jobs.len(), 1);
    assert_eq!(seen.jobs[0].request["prompt"], "Say it.");
    assert!(seen.jobs[0].job_id.starts_with(id));
}

#[tokio::test]
async fn a_reader_resumes_after_any_event_also_while_the_task_runs() {
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &[]).await;
    let id = daemon.submit(json!({"max_tokens": 60})).await;
    // Readers that come while it runs, each after what it has seen.
    let mut seen = Vec::new();
    while seen
        .last()
        .is_none_or(|frame: &pool_core::serving::Frame| frame.event != "end")
    {
        let after = seen.len().checked_sub(1);
        let mut request = client().get(format!("{}/v2/tasks/{id}/events", daemon.url));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        let mut stream = request.send().await.unwrap().bytes_stream();
        let mut parser = SseParser::default();
        let piece = stream.next().await.unwrap().unwrap();
        seen.extend(parser.push(&piece));
    }
    assert_eq!(whole(&seen).0, text(60));
    let all = daemon.events(&id, None).await;
    assert_eq!(all, seen);
    for after in 0..all.len() as u64 {
        assert_eq!(
            daemon.events(&id, Some(after)).await[..],
            all[after as usize + 1..]
        );
    }
}

#[tokio::test]
async fn a_reader_that_takes_nothing_for_long_misses_nothing() {
    let worker = worker_with("w1", |settings| settings.rate = 0.0);
    let daemon = Daemon::before(&[&worker], &[]).await;
    let id = daemon.submit(json!({"max_tokens": 4000})).await;
    let reader = client().get(format!("{}/v2/tasks/{id}/events", daemon.url));
    let mut answer = reader.send().await.unwrap();
    daemon.is(&id, "completed").await;
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.unwrap() {
        bytes.extend_from_slice(&piece);
    }
    let (said, end) = whole(&SseParser::default().push(&bytes));
    assert_eq!((said, &end["tokens_out"]), (text(4000), &json!(4000)));
}

#[tokio::test]
async fn what_cannot_be_is_refused_before_it_waits() {
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &[]).await;
    for (more, status, code) in [
        (json!({"model": "other"}), 404, "NOT_FOUND"),
        (json!({"model": "not a name/"}), 404, "NOT_FOUND"),
        (json!({"max_tokens": 5000}), 400, "INVALID_REQUEST"),
        (json!({"max_tokens": 0, "top_p": 2}), 400, "INVALID_REQUEST"),
        (
            json!({"deadline_ms": 10_000_000_u64}),
            400,
            "INVALID_REQUEST",
        ),
        (json!({"n": 2}), 400, "INVALID_REQUEST"),
    ] {
        let answer = daemon
            .send(Method::POST, "/v2/tasks", Some(&task(more.clone())))
            .await;
        assert_eq!(answer.status(), status, "{more}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"]["code"], code, "{more}");
        assert!(!body.to_string().contains("Say it"), "{body}");
    }
    assert!(worker.seen().jobs.is_empty());
    let missing = daemon.send(Method::GET, "/v2/tasks/t-0/events", None).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let worker = worker_with("w1", |settings| {
        settings.slots = 1;
        settings.rate = 20.0;
    });
    let daemon = Daemon::before(&[&worker], &["--queue", "2"]).await;
    let mut ids = Vec::new();
    let refused = loop {
        let body = task(json!({"prompt": format!("Say {}.", ids.len())}));
        let answer = daemon.send(Method::POST, "/v2/tasks", Some(&body)).await;
        if answer.status() != StatusCode::ACCEPTED {
            break answer;
        }
        let accepted: Value = answer.json().await.unwrap();
        ids.push(accepted["job_id"].as_str().unwrap().to_owned());
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let after = refused.headers()["retry-after-ms"]
        .to_str()
        .unwrap()
        .parse::<u64>()
        .unwrap();
    assert!(
        refused.headers().contains_key("retry-after") && after >= 100,
        "{after}"
    );
    let body: Value = refused.json().await.unwrap();
    assert_eq!(
        (&body["error"]["code"], &body["error"]["retriable"]),
        (&json!("QUEUE_FULL"), &json!(true))
    );
    for id in &ids {
        assert_eq!(whole(&daemon.events(id, None).await).0, text(16));
    }
}

#[tokio::test]
async fn a_task_that_is_not_done_by_its_deadline_fails() {
    let worker = worker_with("w1", |settings| settings.rate = 5.0);
    let daemon = Daemon::before(&[&worker], &[]).await;
    let id = daemon.submit(json!({"deadline_ms": 700})).await;
    let (_, last) = whole(&daemon.events(&id, None).await);
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("error"), &json!("DEADLINE"))
    );
    eventually("the worker is told", async || {
        worker.seen().jobs[0].outcome != mock_worker::Outcome::Open
    })
    .await;
    assert_eq!(daemon.state(&id).await["status"], "failed");
}
