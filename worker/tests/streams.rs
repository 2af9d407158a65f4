//! Streams while they run: cancelled, left, waiting, silent.

use std::time::Duration;

use pool_core::serving::{FailureCode, StreamEvent, StreamFault};
use serde_json::{Value, json};
use worker::server::Settings;

use crate::support::{Folder, Server, Stream, ask, launch, sing};

fn few(waiting: usize) -> Settings {
    Settings {
        waiting,
        ..Settings::default()
    }
}

/// A worker with one slot, and the request that keeps it busy until somebody ends it.
async fn occupied(folder: &Folder, settings: Settings) -> (Server, Stream) {
    let mut launch = launch(folder.path());
    launch.slots = 1;
    let server = Server::start(launch, settings).await;
    let mut song = server.client.execute(&sing("song")).await;
    song.first_token().await;
    (server, song)
}

fn failed_with(code: FailureCode, result: Result<impl Sized, StreamFault>) -> bool {
    matches!(result, Err(StreamFault::Failed(failure)) if failure.code == code)
}

/// Streaming is real: if the answer came whole, it could not be cancelled after its first token.
#[tokio::test]
async fn a_cancelled_answer_ends_early() {
    let folder = Folder::endless();
    let (server, mut song) = occupied(&folder, few(0)).await;
    server.client.cancel("song").await;
    let mut tokens = 1;
    let failure = loop {
        match song.next().await.unwrap() {
            Some(StreamEvent::Token { .. }) => tokens += 1,
            Some(StreamEvent::Error(failure)) => break failure,
            Some(_) => {}
            None => panic!("the stream was cut"),
        }
    };
    assert_eq!(failure.code, FailureCode::Cancelled);
    assert!(tokens < 19_000, "all of it was generated");
    // The slot was free before the terminal event was sent.
    assert_eq!(server.client.health().await.slots.busy, 0);
    server.client.cancel("song").await;
    server.client.cancel("never-there").await;
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_slot() {
    let folder = Folder::endless();
    let (server, song) = occupied(&folder, few(0)).await;
    assert_eq!(server.client.health().await.slots.busy, 1);
    drop(song);
    server.client.until_busy(0).await;
    let mut next = server.client.execute(&sing("next")).await;
    next.first_token().await;
}

#[tokio::test]
async fn a_long_answer_keeps_no_other_from_starting() {
    let folder = Folder::endless();
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    let mut song = server.client.execute(&sing("song")).await;
    song.first_token().await;
    let mut short = sing("short");
    short["max_tokens"] = json!(20);
    assert_eq!(server.client.answer(&short).await.end.tokens_out, 20);
    assert_eq!(server.client.health().await.slots.busy, 1);
    server.client.cancel("song").await;
    assert!(failed_with(FailureCode::Cancelled, song.finish().await));
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let folder = Folder::endless();
    let (server, song) = occupied(&folder, few(1)).await;
    let mut waiting = server.client.execute(&sing("waiting")).await;
    let refused = server.client.post("/execute", &sing("third")).await;
    assert_eq!(refused.status(), 429);
    assert!(
        refused.headers()["retry-after"]
            .to_str()
            .unwrap()
            .parse::<u64>()
            .unwrap()
            >= 1
    );
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "QUEUE_FULL");
    assert_eq!(body["error"]["retriable"], true);
    server.client.cancel("song").await;
    assert!(failed_with(FailureCode::Cancelled, song.finish().await));
    waiting.first_token().await;
}

#[tokio::test]
async fn a_request_that_waits_can_be_cancelled_and_left() {
    let folder = Folder::endless();
    let (server, _song) = occupied(&folder, few(1)).await;
    let waiting = server.client.execute(&sing("waiting")).await;
    server.client.cancel("waiting").await;
    assert!(failed_with(FailureCode::Cancelled, waiting.finish().await));
    // One who leaves the queue makes room for another.
    drop(server.client.execute(&sing("left")).await);
    loop {
        let next = server.client.post("/execute", &sing("next")).await;
        if next.status() == 200 {
            break;
        }
        assert_eq!(next.status(), 429);
    }
}

#[tokio::test]
async fn a_job_id_is_unique_while_it_is_in_use() {
    let folder = Folder::endless();
    let (server, song) = occupied(&folder, few(1)).await;
    let refused = server.client.post("/execute", &sing("song")).await;
    assert_eq!(refused.status(), 409);
    server.client.cancel("song").await;
    assert!(failed_with(FailureCode::Cancelled, song.finish().await));
    let mut again = server.client.execute(&sing("song")).await;
    again.first_token().await;
}

#[tokio::test]
async fn comments_keep_a_silent_stream_open() {
    let folder = Folder::endless();
    let settings = Settings {
        keep_alive: Duration::from_millis(1),
        ..few(1)
    };
    let (server, _song) = occupied(&folder, settings).await;
    let mut waiting = server.client.execute(&sing("waiting")).await;
    let first = waiting.chunk().await.unwrap();
    assert!(
        first.starts_with(b":"),
        "{}",
        String::from_utf8_lossy(&first)
    );
}

#[tokio::test]
async fn metrics_stand_between_the_tokens() {
    let server = Server::tiny().await;
    let mut stream = server.client.execute(&ask("j", "Count to fifty.")).await;
    let mut seen = Vec::new();
    while let Some(event) = stream.next().await.unwrap() {
        if let StreamEvent::Metrics {
            tokens_out,
            memory_bytes,
            ..
        } = event
        {
            assert!(memory_bytes > 2_000_000);
            seen.push(tokens_out);
        }
    }
    assert!(seen.len() >= 2 && seen.is_sorted(), "{seen:?}");
}
