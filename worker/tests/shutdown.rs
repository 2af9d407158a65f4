//! The end of a worker.

use std::time::Duration;

use pool_core::serving::{ErrorBody, ErrorCode, FailureCode, Phase, StopReason, StreamFault};
use serde_json::json;
use worker::model::Model;
use worker::server::Settings;

use crate::networks::options;
use crate::support::{Binary, Folder, Server, ask, launch, sing, tiny};

#[tokio::test]
async fn sigterm_and_sigint_finish_what_runs_and_exit_with_0() {
    for signal in ["TERM", "INT"] {
        let (mut binary, client) = Binary::serve(&tiny());
        let mut song = client.execute(&ask("song", "Sing for ever.")).await;
        song.first_token().await;
        binary.signal(signal);
        let answer = song.finish().await.unwrap();
        assert_eq!(answer.end.stop_reason, StopReason::MaxTokens);
        binary.line_with("stopped");
        assert_eq!(binary.ended().0, Some(0), "{signal}");
    }
}

#[tokio::test]
async fn a_draining_worker_takes_nothing_new() {
    let folder = Folder::endless();
    let mut server = Server::start(launch(folder.path()), Settings::default()).await;
    let client = server.client.clone();
    let mut song = client.execute(&sing("song")).await;
    song.first_token().await;
    server.shut_down();
    client
        .until("/ready", |status, ready| {
            status == 503 && ready["status"] == "draining"
        })
        .await;
    let refused = client.post("/execute", &sing("next")).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(
        refused.json::<ErrorBody>().await.unwrap().error.code,
        ErrorCode::Draining
    );
    client.cancel("song").await;
    assert!(song.finish().await.is_err());
    server.ended().await.unwrap();
}

#[tokio::test]
async fn what_runs_past_the_deadline_is_ended_and_told() {
    let folder = Folder::endless();
    let settings = Settings {
        drain: Duration::ZERO,
        ..Settings::default()
    };
    let mut launch = launch(folder.path());
    launch.slots = 1;
    let mut server = Server::start(launch, settings).await;
    let mut song = server.client.execute(&sing("song")).await;
    song.first_token().await;
    let waiting = server.client.execute(&sing("waiting")).await;
    server.shut_down();
    for stream in [song, waiting] {
        match stream.finish().await {
            Err(StreamFault::Failed(failure)) => {
                assert_eq!(failure.code, FailureCode::Deadline);
                assert!(failure.retriable);
            }
            other => panic!("{other:?}"),
        }
    }
    server.ended().await.unwrap();
}

#[tokio::test]
async fn a_request_can_ask_for_the_end() {
    let server = Server::tiny().await;
    let response = server.client.post("/shutdown", &json!({})).await;
    assert_eq!(response.status(), 202);
    server.ended().await.unwrap();
}

/// The model loads for ever.
#[tokio::test]
async fn a_worker_that_still_loads_ends_at_once() {
    let (_hold, told) = std::sync::mpsc::channel::<()>();
    let mut server = Server::start_with(launch(&tiny()), Settings::default(), move |progress| {
        let _ = told.recv();
        Model::load(&options(&tiny()), progress)
    })
    .await;
    assert_eq!(server.client.health().await.status, Phase::Loading);
    server.shut_down();
    server.ended().await.unwrap();
}

#[tokio::test]
async fn the_log_has_a_line_for_each_request_and_never_its_words() {
    let (binary, client) = Binary::serve(&tiny());
    let mut asked = ask("job-1", "xylophone");
    asked["max_tokens"] = json!(3);
    client.answer(&asked).await;
    let refused =
        json!({"job_id": "job-2", "messages": [{"role": "xylophone", "content": "xylophone"}]});
    assert_eq!(client.post("/execute", &refused).await.status(), 400);
    binary.signal("TERM");
    let (_, log) = binary.ended();
    let ended = log.lines().find(|line| line.contains("job-1")).unwrap();
    assert!(
        ended.contains("tokens_out=3") && ended.contains("MAX_TOKENS"),
        "{ended}"
    );
    assert!(
        log.lines()
            .any(|line| line.contains("InvalidRequest") && line.contains("/execute")),
        "{log}"
    );
    assert!(!log.contains("xylophone"), "{log}");
}
