//! A worker, and a plain client.

use std::time::Duration;

use mock_worker::{FAULT_HEADER, Faults, MockWorker, Outcome, SeenJob, Settings};
use pool_core::serving::{Answer, SseParser, StreamCheck, StreamFault};
use serde_json::{Value, json};

/// Nothing here takes as long.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn settings() -> Settings {
    Settings {
        rate: 1000.0,
        ..Settings::new("w1".parse().unwrap(), "tiny".parse().unwrap())
    }
}

pub fn worker(settings: Settings) -> MockWorker {
    MockWorker::start(settings).unwrap()
}

pub fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

pub async fn get(worker: &MockWorker, path: &str) -> reqwest::Response {
    client().get(worker.url() + path).send().await.unwrap()
}

pub fn post(worker: &MockWorker, path: &str, body: &Value) -> reqwest::RequestBuilder {
    client().post(worker.url() + path).json(body)
}

/// A request of `/execute` for so many tokens.
pub fn ask(worker: &MockWorker, job_id: &str, tokens: u64) -> reqwest::RequestBuilder {
    let body = json!({ "job_id": job_id, "prompt": "Say it.", "max_tokens": tokens });
    post(worker, "/execute", &body)
}

/// The same with faults of its own.
pub fn ask_faulty(worker: &MockWorker, tokens: u64, faults: &Faults) -> reqwest::RequestBuilder {
    let faults = serde_json::to_string(faults).unwrap();
    ask(worker, "faulty", tokens).header(FAULT_HEADER, faults)
}

/// The bytes of an answer, and whether they came to their end.
pub async fn bytes(request: reqwest::RequestBuilder) -> (Vec<u8>, bool) {
    let mut response = request.send().await.unwrap();
    assert_eq!(response.status(), 200);
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => bytes.extend_from_slice(&piece),
            Ok(None) => return (bytes, true),
            Err(_) => return (bytes, false),
        }
    }
}

/// What the contract says of a stream of `/execute`.
pub fn judge(bytes: &[u8]) -> Result<Answer, StreamFault> {
    let (mut parser, mut check) = (SseParser::default(), StreamCheck::default());
    for frame in parser.push(bytes) {
        check.frame(&frame)?;
    }
    check.finish()
}

/// Waits until the worker has seen the end of its only job.
pub async fn ended(worker: &MockWorker) -> SeenJob {
    let ended = async {
        loop {
            let seen = worker.seen();
            if let [job] = &seen.jobs[..]
                && job.outcome != Outcome::Open
            {
                return job.clone();
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap()
}
