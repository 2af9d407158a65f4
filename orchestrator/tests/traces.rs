//! Spans, as a collector gets them.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use mock_worker::{Faults, MockWorker};
use reqwest::{Method, Response};
use serde_json::json;

use crate::collector::{Collector, Span, one};
use crate::support::{Daemon, client, eventually, task, text, whole, worker};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";
const SECRET: &str = "The-prompt-is-nobodys-business.";

/// Asks as part of a client's trace.
async fn open(daemon: &Daemon, path: &str, body: serde_json::Value) -> Response {
    let request = client().post(format!("{}{path}", daemon.url));
    let request = request.header("traceparent", format!("00-{TRACE}-{CLIENT}-01"));
    let request = request.header("x-correlation-id", "a-client-1");
    let answer = request.json(&body).send().await.unwrap();
    assert!(answer.status().is_success());
    answer
}

/// The whole answer.
async fn ask(daemon: &Daemon, path: &str, body: serde_json::Value) -> String {
    open(daemon, path, body).await.text().await.unwrap()
}

/// Ends the daemon, which sends what is left; all of it must be of the client's trace and tell nothing of the prompt.
fn spans(daemon: Daemon, collector: &Collector) -> Vec<Span> {
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
    let spans = collector.spans();
    for span in &spans {
        assert_eq!(span.service, "orchestratord");
        assert_eq!(span.trace, TRACE, "{span:?}");
        assert_eq!(span.get("rbee.correlation_id"), "a-client-1", "{span:?}");
        assert!(span.time.start <= span.time.end, "{span:?}");
        let told = format!("{span:?}");
        assert!(!told.contains(SECRET) && !told.contains(&text(1)), "{told}");
    }
    spans
}

/// What the only request to a worker named as its parent.
/// A span as W3C's Trace Context names it.
fn named(span: &Span) -> String {
    format!("00-{}-{}-01", span.trace, span.id)
}

fn traceparent(worker: &MockWorker) -> Option<String> {
    let jobs = worker.seen().jobs;
    assert_eq!(jobs.len(), 1);
    jobs[0].traceparent.clone()
}

#[tokio::test]
async fn a_request_continues_the_trace_of_its_client_and_its_worker_continues_it() {
    for stream in [true, false] {
        let collector = Collector::start();
        let worker = worker("w1");
        let daemon = Daemon::before(&[&worker], &["--traces", &collector.url]).await;
        let messages = json!([{"role": "user", "content": SECRET}]);
        let body =
            json!({"model": "tiny", "messages": messages, "max_tokens": 8, "stream": stream});
        ask(&daemon, "/v1/chat/completions", body).await;

        let spans = spans(daemon, &collector);
        assert_eq!(spans.len(), 3, "{spans:#?}");
        let request = one(&spans, "POST /v1/chat/completions");
        assert_eq!(
            (request.kind.as_str(), request.parent.as_str()),
            ("Server", CLIENT)
        );
        assert_eq!(request.get("http.response.status_code"), "200");
        let queue = one(&spans, "queue");
        assert_eq!(queue.parent, request.id);
        let attempt = one(&spans, "attempt");
        assert_eq!(
            (attempt.kind.as_str(), &attempt.parent),
            ("Client", &request.id)
        );
        for (attribute, value) in [
            (
                "rbee.worker",
                format!("w1@{}", worker.url().trim_start_matches("http://")),
            ),
            ("rbee.attempt", "1".to_owned()),
            ("rbee.outcome", "completed".to_owned()),
            ("gen_ai.operation.name", "chat".to_owned()),
            ("gen_ai.request.model", "tiny".to_owned()),
            ("gen_ai.usage.output_tokens", "8".to_owned()),
        ] {
            assert_eq!(attempt.get(attribute), value, "{attribute}");
        }
        assert_eq!(traceparent(&worker), Some(named(attempt)));
        // The request lasts as long as its answer.
        assert!(queue.time.end <= attempt.time.start);
        assert!(attempt.time.end <= request.time.end);
        assert!(!request.is_error && !attempt.is_error);
    }
}

#[tokio::test]
async fn a_task_outlives_its_request_and_has_a_span_for_each_attempt() {
    let collector = Collector::start();
    let workers = ["bad", "good"].map(worker);
    let [bad, good] = &workers;
    let fault = json!({"status": 500});
    bad.set_faults(serde_json::from_value::<Faults>(fault).unwrap());
    let args = ["--traces", &collector.url, "--scheduling", "round-robin"];
    let daemon = Daemon::before(&[bad, good], &args).await;
    let mut ids = Vec::new();
    // One of two in a row goes to the bad one first.
    while bad.seen().jobs.is_empty() {
        let body = task(json!({"prompt": SECRET}));
        let accepted = ask(&daemon, "/v2/tasks", body).await;
        let accepted: serde_json::Value = serde_json::from_str(&accepted).unwrap();
        let id = accepted["job_id"].as_str().unwrap().to_owned();
        let (said, _) = whole(&daemon.events(&id, None).await);
        assert_eq!(said, text(16));
        ids.push(id);
    }
    let retried = ids.last().unwrap();

    let spans = spans(daemon, &collector);
    let is_it = |span: &&Span| span.get("rbee.task_id") == retried;
    let task = spans.iter().find(is_it).unwrap();
    assert_eq!(
        (task.name.as_str(), task.get("rbee.outcome")),
        ("task", "completed")
    );
    let request = spans.iter().find(|span| span.id == task.parent).unwrap();
    assert_eq!(
        (request.name.as_str(), request.parent.as_str()),
        ("POST /v2/tasks", CLIENT)
    );
    assert_eq!(request.get("http.response.status_code"), "202");
    assert!(request.time.end <= task.time.end);
    let of_task = |name: &str| {
        let mut parts: Vec<&Span> = spans.iter().collect();
        parts.retain(|span| span.parent == task.id && span.name == name);
        parts.sort_by_key(|span| span.time.start);
        parts
    };
    assert_eq!(of_task("queue").len(), 2);
    let attempts = of_task("attempt");
    let outcomes = attempts
        .iter()
        .map(|span| (span.get("rbee.outcome"), span.is_error));
    assert_eq!(
        outcomes.collect::<Vec<_>>(),
        [("failed", true), ("completed", false)]
    );
    assert_eq!(attempts[0].get("error.type"), "500");
    assert_eq!(traceparent(bad), Some(named(attempts[0])));
}

#[tokio::test]
async fn a_client_that_leaves_cancels_the_attempt() {
    let collector = Collector::start();
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &["--traces", &collector.url]).await;
    let body = json!({"model": "tiny", "prompt": SECRET, "max_tokens": 4000, "stream": true});
    let mut answer = open(&daemon, "/v1/completions", body).await;
    answer.chunk().await.unwrap().unwrap();
    drop(answer);
    let ended = || worker.seen().jobs[0].ended_at.is_some();
    eventually("the worker has ended what was left", async || ended()).await;
    let spans = spans(daemon, &collector);
    assert_eq!(one(&spans, "attempt").get("rbee.outcome"), "cancelled");
}

#[tokio::test]
async fn a_trace_begins_with_the_orchestrator_where_its_client_has_none_and_off_means_none() {
    let collector = Collector::start();
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &["--traces", &collector.url]).await;
    let id = daemon.submit(json!({})).await;
    daemon.is(&id, "completed").await;
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));
    let spans = collector.spans();
    let request = one(&spans, "POST /v2/tasks");
    assert_eq!(request.parent, "");
    assert_eq!(traceparent(&worker), Some(named(one(&spans, "attempt"))));
    assert!(spans.iter().all(|span| span.trace == request.trace));

    worker.forget();
    let daemon = Daemon::before(&[&worker], &[]).await;
    let id = daemon.submit(json!({})).await;
    daemon.is(&id, "completed").await;
    assert_eq!(traceparent(&worker), None);
}

/// One collector refuses connections, one takes them and never answers.
#[tokio::test]
async fn a_collector_that_is_dead_or_hangs_delays_nothing() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = hanging.local_addr().unwrap();
    let dead = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for collector in [dead, hangs] {
        let worker = worker("w1");
        let url = format!("http://{collector}");
        let args = ["--traces", &url];
        let daemon = Daemon::before(&[&worker], &args).await;
        // More spans than can wait.
        for _ in 0..25 {
            let many = (0..50).map(async |_| {
                let body = task(json!({"max_tokens": 1}));
                let answer = daemon
                    .send(Method::POST, "/v1/completions", Some(&body))
                    .await;
                assert_eq!(answer.status(), 200);
                answer.text().await.unwrap();
            });
            futures::future::join_all(many).await;
        }
        let told = Instant::now();
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code(), Some(0));
        let took = told.elapsed();
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}
