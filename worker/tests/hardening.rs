//! Clients that take more than their share.

use std::time::Duration;

use pool_core::serving::{ErrorBody, ErrorCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use worker::server::Settings;

use crate::support::{Client, Folder, Server, ask, launch, read_json, sing, tiny, within};

async fn connect(client: &Client) -> TcpStream {
    TcpStream::connect(client.address()).await.unwrap()
}

/// Everything that the worker writes until it closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    // A reset is an end too.
    let _ = within(stream.read_to_end(&mut text)).await;
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off() {
    let settings = Settings {
        header_timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let server = Server::start(launch(&tiny()), settings).await;
    let mut slow = connect(&server.client).await;
    slow.write_all(b"GET /health HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    assert!(!rest(&mut slow).await.contains("200 OK"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_cut_off() {
    let settings = Settings {
        body_timeout: Duration::from_millis(50),
        ..Settings::default()
    };
    let server = Server::start(launch(&tiny()), settings).await;
    let mut slow = connect(&server.client).await;
    let head = "POST /execute HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{";
    slow.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(answer.contains("REQUEST_TIMEOUT"), "{answer}");
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_not_read() {
    let server = Server::tiny().await;
    let mut large = connect(&server.client).await;
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 3000000\r\n\r\n";
    large.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut large).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains(r#""code":"payload_too_large""#), "{answer}");
}

/// One without a length is only found out while it is read.
#[tokio::test]
async fn a_body_that_grows_too_large_is_refused() {
    let server = Server::tiny().await;
    let pieces = (0..3).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1_000_000]));
    let request = server
        .client
        .request(reqwest::Method::POST, "/execute")
        .header("Content-Type", "application/json")
        .body(reqwest::Body::wrap_stream(futures::stream::iter(pieces)));
    let refused = within(request.send()).await.unwrap();
    assert_eq!(refused.status(), 413);
    assert_eq!(
        refused.json::<ErrorBody>().await.unwrap().error.code,
        ErrorCode::PayloadTooLarge
    );
}

#[tokio::test]
async fn connections_over_the_cap_wait_for_their_turn() {
    let settings = Settings {
        connections: 2,
        ..Settings::default()
    };
    // The client that asks whether it is ready keeps a connection.
    let server = Server::start(launch(&tiny()), settings).await;
    let idle = connect(&server.client).await;
    let mut waiting = connect(&server.client).await;
    let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    waiting.write_all(request.as_bytes()).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), waiting.read(&mut byte)).await;
    assert!(early.is_err(), "it was served beside two others");
    drop(idle);
    assert!(rest(&mut waiting).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_answer_names_a_hundred_faults_and_counts_the_others() {
    let Server { client, .. } = Server::tiny().await;
    let body = json!({"job_id": "j", "messages": vec![0; 100_000]});
    let refused: ErrorBody = client.post("/execute", &body).await.json().await.unwrap();
    assert_eq!(refused.error.details.len(), 100);
    assert!(refused.error.details[99].message.starts_with("99901 more"));
}

#[tokio::test]
async fn health_is_told_while_all_slots_compute() {
    let folder = Folder::endless();
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    let mut songs = Vec::new();
    for n in 0..4 {
        let mut song = server.client.execute(&sing(&format!("song-{n}"))).await;
        song.first_token().await;
        songs.push(song);
    }
    for _ in 0..50 {
        let health = server.client.health().await;
        assert_eq!((health.slots.total, health.slots.busy), (4, 4));
    }
    for (n, song) in songs.into_iter().enumerate() {
        server.client.cancel(&format!("song-{n}")).await;
        assert!(song.finish().await.is_err());
    }
}

/// The sample of a metric, by its name and labels as they are written.
async fn sample(client: &Client, line: &str) -> f64 {
    let response = client.get("/metrics").await;
    let kind = response.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
    let text = response.text().await.unwrap();
    let value = text.lines().find_map(|found| found.strip_prefix(line));
    let value = value.unwrap_or_else(|| panic!("no {line} in {text}"));
    value.trim().parse().unwrap()
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let folder = Folder::endless();
    let mut launch = launch(folder.path());
    launch.slots = 1;
    let settings = Settings {
        waiting: 1,
        ..Settings::default()
    };
    let Server { client, .. } = Server::start(launch, settings).await;
    let mut body = sing("first");
    body["max_tokens"] = json!(5);
    let end = client.answer(&body).await.end;
    let mut song = client.execute(&sing("song")).await;
    song.first_token().await;
    let waiting = client.execute(&sing("waiting")).await;
    assert_eq!(client.post("/execute", &sing("third")).await.status(), 429);
    let model = r#"{model_name="tiny"}"#;
    for (name, value) in [
        ("vllm:num_requests_running", 1.0),
        ("vllm:num_requests_waiting", 1.0),
        ("vllm:prompt_tokens_total", end.tokens_in as f64),
        ("vllm:generation_tokens_total", 5.0),
        ("vllm:time_to_first_token_seconds_count", 2.0),
        ("vllm:e2e_request_latency_seconds_count", 1.0),
        ("rbee_slots", 1.0),
        ("rbee_requests_begun_total", 2.0),
    ] {
        let found = sample(&client, &format!("{name}{model}")).await;
        assert!((found - value).abs() < f64::EPSILON, "{name} is {found}");
    }
    let tokens = sample(
        &client,
        &format!("vllm:inter_token_latency_seconds_count{model}"),
    )
    .await;
    assert!(tokens >= 4.0, "{tokens}");
    for job in ["song", "waiting"] {
        client.cancel(job).await;
    }
    assert!(song.finish().await.is_err());
    assert!(waiting.finish().await.is_err());
    for (labels, value) in [
        (
            r#"vllm:request_success_total{model_name="tiny",finished_reason="length"}"#,
            1,
        ),
        (
            r#"vllm:request_success_total{model_name="tiny",finished_reason="abort"}"#,
            2,
        ),
        (
            r#"vllm:request_success_total{model_name="tiny",finished_reason="stop"}"#,
            0,
        ),
        (
            r#"rbee_requests_refused_total{model_name="tiny",code="QUEUE_FULL"}"#,
            1,
        ),
    ] {
        let found = sample(&client, labels).await;
        assert!(
            (found - f64::from(value)).abs() < f64::EPSILON,
            "{labels} is {found}"
        );
    }
    let text = client.get("/metrics").await.text().await.unwrap();
    assert!(!text.contains("song") && !text.contains("# EOF"), "{text}");
    for line in [
        "# TYPE vllm:prompt_tokens_total counter",
        "# TYPE rbee_build_info gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    let memory: Value = client.get("/health").await.json().await.unwrap();
    let weights = sample(
        &client,
        r#"rbee_memory_bytes{model_name="tiny",kind="weights"}"#,
    )
    .await;
    assert!((weights - memory["memory"]["weights"].as_f64().unwrap()).abs() < f64::EPSILON);
}

/// It asks for more than the buffers of both ends hold, and reads none of it.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_never_reads_gives_its_place_back() {
    let settings = Settings {
        connections: 1,
        unread_timeout: Duration::from_secs(1),
        // An idle connection ends no sooner.
        header_timeout: Duration::from_mins(10),
        ..Settings::default()
    };
    let server = Server::start_loading(launch(&tiny()), settings).await;
    let mut greedy = connect(&server.client).await;
    let ask = "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    // Until nothing more is taken, or the worker has given up already.
    let push = async { while greedy.write_all(ask.as_bytes()).await.is_ok() {} };
    let _ = tokio::time::timeout(Duration::from_millis(500), push).await;
    // The only place is free again.
    server.client.until_ready().await;
    drop(greedy);
}

/// A tokenizer may know more tokens than the model: some fine-tunes have a padding token that was never learned.
#[tokio::test]
async fn a_token_that_the_model_never_learned_harms_only_who_sends_it() {
    let folder = Folder::endless();
    let known = read_json(folder.file("config.json"))["vocab_size"].clone();
    folder.edit("tokenizer.json", |tokenizer| {
        let pad = json!({"id": known, "content": "[PAD]", "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false});
        tokenizer["added_tokens"].as_array_mut().unwrap().push(pad);
    });
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    let mut other = server.client.execute(&sing("other")).await;
    other.first_token().await;
    for (path, body, field) in [
        (
            "/execute",
            json!({"job_id": "a", "prompt": "hi [PAD]"}),
            "prompt",
        ),
        (
            "/v1/completions",
            json!({"model": "tiny", "prompt": "hi [PAD]"}),
            "prompt",
        ),
        (
            "/v1/completions",
            json!({"model": "tiny", "prompt": [known]}),
            "prompt",
        ),
        (
            "/v1/chat/completions",
            json!({"model": "tiny", "messages": [{"role": "user", "content": "[PAD]"}]}),
            "messages",
        ),
    ] {
        let answer = server.client.post(path, &body).await;
        assert_eq!(answer.status(), 400, "{body}");
        let answer = answer.text().await.unwrap();
        assert!(
            answer.contains(field) && !answer.contains("hi ["),
            "{answer}"
        );
    }
    other.first_token().await;
    server.client.cancel("other").await;
}

#[tokio::test]
async fn a_log_that_nobody_takes_does_not_end_the_worker() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let mut worker = std::process::Command::new(env!("CARGO_BIN_EXE_llm-worker-rbee"))
        .arg("--model-dir")
        .arg(tiny())
        .args(["--listen", &address])
        .stderr(full)
        .spawn()
        .unwrap();
    let client = Client::new(&address);
    within(async {
        while client
            .request(reqwest::Method::GET, "/ready")
            .send()
            .await
            .is_err()
        {
            assert!(worker.try_wait().unwrap().is_none(), "it ended");
            tokio::task::yield_now().await;
        }
    })
    .await;
    client.until_ready().await;
    assert_eq!(client.get("/nothing").await.status(), 404);
    assert_eq!(
        client
            .answer(&ask("a", "What is the capital of France?"))
            .await
            .text,
        "Paris"
    );
    worker.kill().unwrap();
    worker.wait().unwrap();
}
