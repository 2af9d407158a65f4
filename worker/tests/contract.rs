//! The HTTP contract, question by question.

use pool_core::serving::{ErrorBody, ErrorCode, Health, Phase};
use reqwest::Method;
use serde_json::{Value, json};
use worker::model::{Config, Model};
use worker::server::Settings;

use crate::networks::options;

use crate::support::{Client, Folder, Server, ask, launch, tiny, within};

async fn refused(client: &Client, body: &Value) -> ErrorBody {
    let response = client.post("/execute", body).await;
    assert_eq!(response.status(), 400, "{body}");
    let error: ErrorBody = response.json().await.unwrap();
    assert_eq!(error.error.code, ErrorCode::InvalidRequest);
    error
}

#[tokio::test]
async fn health_tells_what_runs_here() {
    let mut launch = launch(&tiny());
    launch.model_digest = Some(pool_core::digest::Sha256::of("x"));
    let server = Server::start(launch.clone(), Settings::default()).await;
    let health: Health = server.client.health().await;
    assert_eq!(health.status, Phase::Ready);
    assert_eq!(
        (health.worker_id, health.model),
        (launch.worker_id, launch.model)
    );
    assert_eq!(
        (health.model_digest, health.device),
        (launch.model_digest, launch.device)
    );
    assert_eq!((health.slots.total, health.slots.busy), (4, 0));
    // 639,872 weights of 4 bytes.
    assert_eq!(health.memory.weights, 2_559_488);
    // Four slots of 512 tokens, in each of the layers keys and values of 4 bytes a number.
    let config = Config::read(&tiny()).unwrap();
    let numbers = 2 * config.layers * config.kv_heads * config.head_dim;
    assert_eq!(health.memory.kv, 4 * 512 * 4 * numbers as u64);
    assert!(health.memory.total > health.memory.weights + health.memory.kv);
}

/// The model loads exactly as long as the test wants.
#[tokio::test]
async fn health_answers_and_ready_says_how_far_while_the_model_loads() {
    let (go_on, told) = std::sync::mpsc::channel::<()>();
    let server = Server::start_with(launch(&tiny()), Settings::default(), move |progress| {
        progress(42);
        told.recv().unwrap();
        Model::load(&options(&tiny()), progress)
    })
    .await;
    assert_eq!(server.client.health().await.status, Phase::Loading);
    let expected = json!({"status": "loading", "percent": 42});
    server
        .client
        .until("/ready", |status, ready| {
            status == 503 && *ready == expected
        })
        .await;
    let refused = server.client.post("/execute", &ask("j", "x")).await;
    assert_eq!(refused.status(), 503);
    assert_eq!(
        refused.json::<ErrorBody>().await.unwrap().error.code,
        ErrorCode::Loading
    );
    go_on.send(()).unwrap();
    server.client.until_ready().await;
    assert_eq!(
        server
            .client
            .answer(&ask("j", "What is the capital of France?"))
            .await
            .text,
        "Paris"
    );
}

#[tokio::test]
async fn an_invalid_request_hears_all_its_faults_and_not_its_prompt() {
    let Server { client, .. } = Server::tiny().await;
    let body =
        json!({"job_id": "", "prompt": ["secret"], "temperature": 3, "max_tokens": 0, "n": 2});
    let error = refused(&client, &body).await.error;
    let mut fields: Vec<&str> = error
        .details
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        ["job_id", "max_tokens", "n", "prompt", "temperature"]
    );
    assert!(!error.message.contains("secret"));
    let not_json = client.post_text("/execute", "{".to_owned()).await;
    assert_eq!(not_json.status(), 400);
}

#[tokio::test]
async fn a_prompt_that_does_not_fit_is_refused_with_the_counts() {
    let Server { client, .. } = Server::tiny().await;
    let words = |count: usize| "machine ".repeat(count);
    let long = json!({"job_id": "j", "prompt": words(2000)});
    let error = refused(&client, &long).await.error;
    assert_eq!(error.details[0].field, "prompt");
    assert!(error.message.contains("512"), "{}", error.message);
    let mut tight = ask("j", "What is the capital of France?");
    tight["max_tokens"] = json!(496);
    let error = refused(&client, &tight).await.error;
    assert_eq!(error.details[0].field, "messages");
    for count in ["17", "496", "513", "512"] {
        assert!(error.message.contains(count), "{}", error.message);
    }
    tight["max_tokens"] = json!(495);
    assert_eq!(client.answer(&tight).await.text, "Paris");
}

#[tokio::test]
async fn a_smaller_context_holds_for_requests() {
    let mut launch = launch(&tiny());
    launch.context = Some(20);
    let server = Server::start(launch, Settings::default()).await;
    let song = server.client.answer(&ask("j", "Sing for ever.")).await;
    assert_eq!(song.end.tokens_in + song.end.tokens_out, 20);
    let error = refused(&server.client, &ask("j", &"la ".repeat(20)))
        .await
        .error;
    assert!(
        error.message.contains("the context of 20"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn messages_that_the_template_refuses_are_the_clients_fault() {
    let Server { client, .. } = Server::tiny().await;
    let body = json!({"job_id": "j", "messages": [{"role": "assistant", "content": "Paris"}]});
    let error = refused(&client, &body).await.error;
    assert_eq!(error.details[0].field, "messages");
    assert!(
        error.message.contains("Conversation roles must alternate"),
        "{}",
        error.message
    );
}

#[tokio::test]
async fn a_model_without_a_template_still_takes_prompts() {
    let folder = Folder::copy();
    std::fs::remove_file(folder.file("tokenizer_config.json")).unwrap();
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    let error = refused(&server.client, &ask("j", "x")).await.error;
    assert!(
        error.message.contains("no chat template"),
        "{}",
        error.message
    );
    let body = json!({"job_id": "j", "prompt": "The capital of France is", "temperature": 0});
    assert_eq!(server.client.answer(&body).await.text, "s");
}

#[tokio::test]
async fn what_is_not_there_has_the_same_shape_of_error() {
    let Server { client, .. } = Server::tiny().await;
    for (method, path, status, code) in [
        (Method::GET, "/", 404, ErrorCode::NotFound),
        (Method::POST, "/v1/nothing", 404, ErrorCode::NotFound),
        (Method::GET, "/execute", 405, ErrorCode::MethodNotAllowed),
        (Method::DELETE, "/health", 405, ErrorCode::MethodNotAllowed),
    ] {
        let response = within(client.request(method, path).send()).await.unwrap();
        assert_eq!(response.status(), status, "{path}");
        let id = response.headers()["x-correlation-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let error = response.json::<ErrorBody>().await.unwrap().error;
        assert_eq!((error.code, error.correlation_id), (code, id), "{path}");
    }
    let huge = json!({"job_id": "j", "prompt": "x".repeat(3_000_000)});
    let response = client.post("/execute", &huge).await;
    assert_eq!(response.status(), 413);
    assert_eq!(
        response.json::<ErrorBody>().await.unwrap().error.code,
        ErrorCode::PayloadTooLarge
    );
}

#[tokio::test]
async fn a_correlation_id_is_kept_when_it_is_one() {
    let Server { client, .. } = Server::tiny().await;
    let longest = "a".repeat(64);
    let too_long = "a".repeat(65);
    for (given, kept) in [
        ("Abc-123", true),
        (longest.as_str(), true),
        (too_long.as_str(), false),
        ("a b", false),
        ("", false),
    ] {
        let request = client
            .request(Method::GET, "/health")
            .header("X-Correlation-Id", given);
        let response = within(request.send()).await.unwrap();
        let echoed = response.headers()["x-correlation-id"].to_str().unwrap();
        assert_eq!(echoed == given, kept, "{given:?}");
        assert!(pool_core::serving::is_correlation_id(echoed));
    }
}
