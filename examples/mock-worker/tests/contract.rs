//! Without a fault the worker keeps to the contract.

use mock_worker::{MockWorker, Outcome, Settings, text_of};
use pool_core::serving::{
    ErrorBody, ErrorCode, FailureCode, Health, Phase, Ready, StopReason, StreamFault,
};
use serde_json::{Value, json};

use crate::support::{ask, bytes, client, ended, get, judge, post, settings, worker};

#[tokio::test]
async fn a_stream_is_whole_and_its_text_is_known() {
    let worker = worker(settings());
    let request = ask(&worker, "j1", 40).header("x-correlation-id", "c-1");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-correlation-id"], "c-1");
    let answer = judge(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(
        (answer.job_id.as_str(), answer.text),
        ("j1", text_of(40, 4))
    );
    assert_eq!((answer.end.tokens_in, answer.end.tokens_out), (2, 40));
    assert_eq!(answer.end.stop_reason, StopReason::MaxTokens);
    let job = ended(&worker).await;
    assert_eq!(
        (job.job_id.as_str(), job.correlation_id.as_str()),
        ("j1", "c-1")
    );
    assert_eq!((job.tokens, job.outcome), (40, Outcome::Ended));
    assert_eq!(job.request["prompt"], "Say it.");
    assert!(job.ended_at.unwrap() >= job.asked_at);
}

#[tokio::test]
async fn tokens_come_at_their_pace() {
    let worker = worker(Settings {
        rate: 100.0,
        ..settings()
    });
    let answer = judge(&bytes(ask(&worker, "j", 21)).await.0).unwrap();
    let ms = answer.end.decode_time_ms;
    assert!((200.0..1000.0).contains(&ms), "{ms} ms for 20 gaps of 10");
}

#[tokio::test]
async fn as_fast_as_they_are_taken_every_token_comes_alone() {
    let worker = worker(Settings {
        rate: 0.0,
        token_bytes: 32,
        ..settings()
    });
    let mut response = ask(&worker, "j", 500).send().await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = response.chunk().await.unwrap() {
        all.extend_from_slice(&piece);
    }
    assert_eq!(judge(&all).unwrap().text, text_of(500, 32));
}

#[tokio::test]
async fn probes_tell_the_truth() {
    let worker = worker(settings());
    let health: Health = get(&worker, "/health").await.json().await.unwrap();
    assert_eq!(
        (health.status, health.slots.total, health.slots.busy),
        (Phase::Ready, 4, 0)
    );
    let ready = get(&worker, "/ready").await;
    assert_eq!(ready.status(), 200);
    assert_eq!(ready.json::<Ready>().await.unwrap().status, Phase::Ready);
    let metrics = get(&worker, "/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("vllm:num_requests_running{model_name=\"tiny\"} 0\n"),
        "{metrics}"
    );
    let models: Value = get(&worker, "/v1/models").await.json().await.unwrap();
    assert_eq!(models["data"][0]["id"], "tiny");
    assert_eq!(worker.seen().requests["GET /ready"], 1);
}

#[tokio::test]
async fn slots_are_waited_for_and_beyond_the_queue_is_refused() {
    let worker = worker(Settings {
        slots: 1,
        waiting: 1,
        rate: 0.001,
        ..settings()
    });
    let running = ask(&worker, "running", 2).send().await.unwrap();
    let waiting = ask(&worker, "waiting", 1).send().await.unwrap();
    let twice = ask(&worker, "waiting", 1).send().await.unwrap();
    // The queue is looked at before the names in it.
    assert_eq!(twice.status(), 429);
    let full = ask(&worker, "full", 1).send().await.unwrap();
    assert_eq!(full.headers()["retry-after-ms"], "1000");
    let body: ErrorBody = full.json().await.unwrap();
    assert_eq!(
        (body.error.code, body.error.retry_after_ms),
        (ErrorCode::QueueFull, Some(1000))
    );
    let health: Health = get(&worker, "/health").await.json().await.unwrap();
    assert_eq!(health.slots.busy, 1);
    drop(running);
    let answer = judge(&waiting.bytes().await.unwrap()).unwrap();
    assert_eq!(answer.job_id, "waiting");
}

#[tokio::test]
async fn what_is_wrong_is_refused() {
    let worker = worker(Settings {
        rate: 0.001,
        ..settings()
    });
    let _running = ask(&worker, "j", 2).send().await.unwrap();
    assert_eq!(ask(&worker, "j", 2).send().await.unwrap().status(), 409);
    let refused = post(&worker, "/execute", &json!({ "job_id": "" }))
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 400);
    let body: ErrorBody = refused.json().await.unwrap();
    assert_eq!(body.error.details.len(), 2, "{body:?}");
    assert_eq!(
        ask(&worker, "long", 4096).send().await.unwrap().status(),
        400
    );
    assert_eq!(get(&worker, "/nothing").await.status(), 404);
    let other = json!({ "model": "other", "messages": [{ "role": "user", "content": "x" }] });
    let refused = post(&worker, "/v1/chat/completions", &other)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 404);
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "model_not_found");
    let text = client()
        .post(worker.url() + "/execute")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(text.status(), 415);
}

#[tokio::test]
async fn a_token_is_asked_for_but_not_by_probes() {
    let worker = worker(Settings {
        token: Some("secret".into()),
        ..settings()
    });
    assert_eq!(get(&worker, "/health").await.status(), 200);
    assert_eq!(get(&worker, "/v1/models").await.status(), 401);
    assert_eq!(
        ask(&worker, "j", 1)
            .bearer_auth("wrong")
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    assert_eq!(
        ask(&worker, "j", 1)
            .bearer_auth("secret")
            .send()
            .await
            .unwrap()
            .status(),
        200
    );
}

#[tokio::test]
async fn a_cancel_ends_the_stream_and_is_seen() {
    let worker = worker(Settings {
        rate: 0.001,
        ..settings()
    });
    let stream = ask(&worker, "j", 2).send().await.unwrap();
    for id in ["nobody", "j", "j"] {
        let answer = post(&worker, "/cancel", &json!({ "job_id": id }))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 202);
    }
    let fault = judge(&stream.bytes().await.unwrap()).unwrap_err();
    assert!(
        matches!(fault, StreamFault::Failed(failure) if failure.code == FailureCode::Cancelled)
    );
    let job = ended(&worker).await;
    assert_eq!((job.outcome, job.tokens), (Outcome::Cancelled, 1));
    assert!(job.cancelled_at.unwrap() <= job.ended_at.unwrap());
}

#[tokio::test]
async fn a_client_that_leaves_is_seen() {
    let worker = worker(Settings {
        rate: 0.001,
        ..settings()
    });
    let mut stream = ask(&worker, "j", 2).send().await.unwrap();
    stream.chunk().await.unwrap();
    drop(stream);
    let job = ended(&worker).await;
    assert_eq!(
        (job.outcome, job.cancelled_at),
        (Outcome::Disconnected, None)
    );
    let health: Health = get(&worker, "/health").await.json().await.unwrap();
    assert_eq!(health.slots.busy, 0);
    worker.forget();
    assert!(worker.seen().jobs.is_empty());
}

#[tokio::test]
async fn a_silent_stream_is_kept_open_by_comments() {
    let keep_alive = std::time::Duration::from_millis(20);
    let worker = worker(Settings {
        rate: 5.0,
        keep_alive,
        ..settings()
    });
    let (bytes, _) = bytes(ask(&worker, "j", 2)).await;
    assert!(
        bytes
            .windows(15)
            .any(|window| window == b"\n\n: keep-alive\n")
    );
    assert_eq!(judge(&bytes).unwrap().pieces, 2);
}

#[tokio::test]
async fn openai_clients_have_their_words_streamed_and_whole() {
    let worker = worker(settings());
    let chat = json!({ "messages": [{ "role": "user", "content": "x" }] });
    for (path, prompt) in [
        ("/v1/chat/completions", chat),
        ("/v1/completions", json!({ "prompt": "x" })),
    ] {
        let mut body = prompt;
        body["model"] = "tiny".into();
        body["max_tokens"] = 3.into();
        let whole: Value = post(&worker, path, &body)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let choice = &whole["choices"][0];
        let text = choice["message"]["content"]
            .as_str()
            .or(choice["text"].as_str());
        assert_eq!(text, Some(text_of(3, 4).as_str()), "{whole}");
        assert_eq!(
            (
                &choice["finish_reason"],
                &whole["usage"]["completion_tokens"]
            ),
            (&json!("length"), &json!(3))
        );
        body["stream"] = true.into();
        body["stream_options"] = json!({ "include_usage": true });
        let (bytes, is_whole) = bytes(post(&worker, path, &body)).await;
        let stream = String::from_utf8(bytes).unwrap();
        assert!(is_whole && stream.ends_with("data: [DONE]\n\n"), "{stream}");
        let datas = stream
            .lines()
            .filter_map(|line| line.strip_prefix("data: {"));
        let chunks: Vec<Value> = datas
            .map(|data| serde_json::from_str(&format!("{{{data}")).unwrap())
            .collect();
        let told = chunks.iter().map(|chunk| {
            let choice = &chunk["choices"][0];
            choice["delta"]["content"]
                .as_str()
                .or(choice["text"].as_str())
                .unwrap_or_default()
        });
        assert_eq!(told.collect::<String>(), text_of(3, 4), "{stream}");
        assert_eq!(chunks.last().unwrap()["usage"]["completion_tokens"], 3);
    }
    let refused = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "x" }], "logprobs": true });
    let refused: Value = post(&worker, "/v1/chat/completions", &refused)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(refused["error"]["param"], "logprobs");
    let mut with_more =
        json!({ "model": "tiny", "prompt": "x", "max_tokens": 1, "ignore_eos": false });
    let refused = post(&worker, "/v1/completions", &with_more);
    assert_eq!(refused.send().await.unwrap().status(), 400);
    let lenient = MockWorker::start(Settings {
        ignored_fields: vec!["ignore_eos".into()],
        ..settings()
    });
    let lenient = lenient.unwrap();
    let taken = post(&lenient, "/v1/completions", &with_more);
    assert_eq!(taken.send().await.unwrap().status(), 200);
    with_more["other"] = 1.into();
    let refused = post(&lenient, "/v1/completions", &with_more);
    assert_eq!(refused.send().await.unwrap().status(), 400);
    let tokens: Value = post(&worker, "/tokenize", &json!({ "prompt": "12345" }))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(tokens["count"], 2);
}

#[tokio::test]
async fn a_drained_worker_finishes_what_runs() {
    let worker = worker(Settings {
        rate: 20.0,
        ..settings()
    });
    let running = ask(&worker, "j", 5).send().await.unwrap();
    let answer = post(&worker, "/shutdown", &json!({})).send().await.unwrap();
    assert_eq!(answer.status(), 202);
    assert_eq!(ask(&worker, "late", 1).send().await.unwrap().status(), 503);
    assert_eq!(get(&worker, "/ready").await.status(), 503);
    assert_eq!(judge(&running.bytes().await.unwrap()).unwrap().pieces, 5);
    let waited = tokio::task::spawn_blocking(move || worker.wait());
    waited.await.unwrap();
}
