//! OpenAI's endpoints where its own client shows too little: the shape of errors, the frames of a stream.

use reqwest::Method;
use serde_json::{Value, json};
use worker::server::Settings;

use crate::support::{Folder, Server, launch, within};

fn chat(more: Value) -> Value {
    let mut body = json!({
        "model": "tiny", "temperature": 0,
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
    });
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

/// What a model without an end continues until somebody ends it.
fn song(more: Value) -> Value {
    let mut body = json!({"model": "tiny", "temperature": 0, "max_tokens": 15_000, "prompt": SONG});
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

const SONG: &str = "<|user|>\nSing for ever.</s>\n<|assistant|>\n";

#[tokio::test]
async fn every_refusal_under_v1_has_the_shape_of_openai() {
    let Server { client, .. } = Server::tiny().await;
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "not_found"),
        (Method::GET, "/v1/models/other", 404, "model_not_found"),
        (Method::GET, "/v1/models/%ff", 404, "model_not_found"),
        (Method::GET, "/v1/completions", 405, "method_not_allowed"),
        (Method::DELETE, "/v1/models", 405, "method_not_allowed"),
        (
            Method::POST,
            "/v1/completions",
            415,
            "unsupported_media_type",
        ),
        (Method::PUT, "/tokenize", 405, "method_not_allowed"),
    ] {
        let response = within(client.request(method, path).send()).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(response.headers().contains_key("allow"), status == 405);
        assert!(response.headers().contains_key("x-correlation-id"));
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["code"], code, "{path}");
        let fields: Vec<&String> = body["error"].as_object().unwrap().keys().collect();
        assert_eq!(fields.len(), 4, "{fields:?}");
    }
    for (body, param) in [
        ("{".to_owned(), Value::Null),
        (chat(json!({"n": 2})).to_string(), json!("n")),
        (
            chat(json!({"messages": "secret"})).to_string(),
            json!("messages"),
        ),
    ] {
        let response = client.post_text("/v1/chat/completions", body).await;
        assert_eq!(response.status(), 400);
        let body: Value = response.json().await.unwrap();
        assert_eq!(body["error"]["param"], param);
        assert!(!body.to_string().contains("secret"));
    }
}

#[tokio::test]
async fn a_stream_is_made_of_data_frames_and_ends_with_done() {
    let Server { client, .. } = Server::tiny().await;
    let body = chat(json!({"stream": true}));
    let response = client.post("/v1/chat/completions", &body).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let frames: Vec<&str> = text.split_terminator("\n\n").collect();
    // What the answer took, for whoever passes the stream on, is a comment before the end.
    let (data, comments): (Vec<&str>, Vec<&str>) =
        frames.iter().partition(|frame| frame.starts_with("data: "));
    assert_eq!(comments, [": usage 17 2"]);
    let frames = data;
    assert_eq!(*frames.last().unwrap(), "data: [DONE]");
    let content: String = frames[..frames.len() - 1]
        .iter()
        .map(|frame| serde_json::from_str::<Value>(&frame[6..]).unwrap())
        .filter_map(|chunk| {
            let content = &chunk["choices"][0]["delta"]["content"];
            content.as_str().map(str::to_owned)
        })
        .collect();
    assert_eq!(content, "Paris");
}

#[tokio::test]
async fn comments_keep_a_silent_stream_open() {
    let folder = Folder::endless();
    let mut launch = launch(folder.path());
    launch.slots = 1;
    let settings = Settings {
        keep_alive: std::time::Duration::from_millis(1),
        ..Settings::default()
    };
    let Server { client, .. } = Server::start(launch, settings).await;
    let body = song(json!({"stream": true}));
    let mut running = client.post("/v1/completions", &body).await;
    while within(running.chunk())
        .await
        .unwrap()
        .unwrap()
        .starts_with(b":")
    {}
    let mut waiting = client.post("/v1/completions", &body).await;
    let first = within(waiting.chunk()).await.unwrap().unwrap();
    assert!(first.starts_with(b":"));
}

#[tokio::test]
async fn an_answer_that_is_cancelled_before_it_is_whole_is_an_error() {
    let folder = Folder::endless();
    let settings = Settings {
        drain: std::time::Duration::ZERO,
        ..Settings::default()
    };
    let Server { client, .. } = Server::start(launch(folder.path()), settings).await;
    // The id of an answer is not known before it is there, so the worker's end cancels it.
    let (status, code) = {
        let asked = client.clone();
        let answer = tokio::spawn(async move {
            let response = asked.post("/v1/completions", &song(json!({}))).await;
            (
                response.status().as_u16(),
                response.json::<Value>().await.unwrap(),
            )
        });
        client.until_busy(1).await;
        let response = client.post("/shutdown", &json!({})).await;
        assert_eq!(response.status(), 202);
        let (status, body) = within(answer).await.unwrap();
        (status, body["error"]["code"].clone())
    };
    assert_eq!((status, code), (503, json!("draining")));
}
