//! Who may ask a worker.

use http_front::tokens::Tokens;
use pool_core::serving::{ErrorBody, ErrorCode};
use reqwest::Method;
use serde_json::{Value, json};
use worker::server::Settings;

use crate::support::{Binary, Folder, Server, ask, launch, sing, tiny, token_file, within};

const TOKEN: &str = "a-token-of-the-tests";

async fn guarded() -> Server {
    let settings = Settings {
        tokens: Tokens::read(None, Some(TOKEN)).unwrap(),
        ..Settings::default()
    };
    Server::start(launch(&tiny()), settings).await
}

const ENDPOINTS: [(Method, &str); 9] = [
    (Method::GET, "/metrics"),
    (Method::GET, "/openapi.json"),
    (Method::GET, "/v1/models"),
    (Method::POST, "/execute"),
    (Method::POST, "/cancel"),
    (Method::POST, "/shutdown"),
    (Method::POST, "/tokenize"),
    (Method::POST, "/v1/chat/completions"),
    (Method::GET, "/nothing"),
];

#[tokio::test]
async fn all_but_health_and_ready_asks_for_the_token() {
    let server = guarded().await;
    for (method, path) in ENDPOINTS {
        for header in [
            None,
            Some("Bearer another-token-of-the-tests"),
            Some("Basic YTpi"),
            Some(TOKEN),
        ] {
            let mut request = server.client.request(method.clone(), path);
            if let Some(header) = header {
                request = request.header("Authorization", header);
            }
            let response = within(request.send()).await.unwrap();
            assert_eq!(response.status(), 401, "{path}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            let body: Value = response.json().await.unwrap();
            let is_openai = path.starts_with("/v1/") || path == "/tokenize";
            let code = if is_openai {
                "invalid_api_key"
            } else {
                "UNAUTHORIZED"
            };
            assert_eq!(body["error"]["code"], code, "{path}");
            assert!(!body.to_string().contains(TOKEN));
        }
    }
    assert_eq!(server.client.get("/health").await.status(), 200);
    assert_eq!(server.client.get("/ready").await.status(), 200);
    let known = server.client.with_token(TOKEN);
    assert_eq!(known.get("/metrics").await.status(), 200);
    let question = ask("j", "What is the capital of France?");
    assert_eq!(known.answer(&question).await.text, "Paris");
    // With a token it does not matter where a request comes from.
    let page = known
        .request(Method::GET, "/v1/models")
        .header("Origin", "https://evil.example");
    assert_eq!(within(page.send()).await.unwrap().status(), 200);
}

#[tokio::test]
async fn without_a_token_no_web_page_is_served() {
    let Server { client, .. } = Server::tiny().await;
    for (header, value, status) in [
        ("Origin", "https://evil.example", 403),
        ("Origin", "null", 403),
        ("Origin", "http://localhost:3000", 200),
        ("Host", "evil.example", 403),
        ("Host", "localhost:1", 200),
        ("Host", "[::1]", 200),
    ] {
        for path in ["/health", "/v1/models", "/metrics"] {
            let request = client.request(Method::GET, path).header(header, value);
            let response = within(request.send()).await.unwrap();
            assert_eq!(response.status(), status, "{header}: {value}");
        }
    }
    let page = client
        .request(Method::POST, "/shutdown")
        .header("Origin", "https://evil.example")
        .json(&json!({}));
    let refused = within(page.send()).await.unwrap();
    assert_eq!(refused.status(), 403);
    assert_eq!(
        refused.json::<ErrorBody>().await.unwrap().error.code,
        ErrorCode::Forbidden
    );
}

/// A form or a plain text needs no permission to be sent to another site.
#[tokio::test]
async fn what_a_form_can_send_is_no_request() {
    let Server { client, .. } = Server::tiny().await;
    for path in ["/shutdown", "/cancel", "/execute", "/v1/completions"] {
        for kind in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let request = client
                .request(Method::POST, path)
                .header("Content-Type", kind)
                .body(r#"{"job_id": "j"}"#);
            let refused = within(request.send()).await.unwrap();
            assert_eq!(refused.status(), 415, "{path} {kind:?}");
        }
    }
    assert_eq!(client.get("/ready").await.status(), 200);
}

#[test]
fn an_address_that_others_reach_is_served_with_a_token() {
    let tokens = token_file(TOKEN);
    let tokens = tokens.path().to_str().unwrap();
    let dir = tiny();
    let dir = dir.to_str().unwrap();
    let mut binary = Binary::spawn(&[
        "--model-dir",
        dir,
        "--listen",
        "0.0.0.0:0",
        "--token-file",
        tokens,
    ]);
    binary.line_with("ready");
}

#[tokio::test]
async fn the_token_of_the_variable_counts() {
    let dir = tiny();
    let args = [
        "--model-dir",
        dir.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    let mut binary = Binary::spawn_with(&args, &[(http_front::tokens::VARIABLE, TOKEN)]);
    let line = binary.line_with("address=");
    let (_, address) = line.split_once("address=").unwrap();
    let client = crate::support::Client::new(address.split_whitespace().next().unwrap());
    binary.line_with("ready");
    assert_eq!(client.get("/metrics").await.status(), 401);
    assert_eq!(client.with_token(TOKEN).get("/metrics").await.status(), 200);
}

#[test]
fn tokens_that_are_no_secret_stop_the_start() {
    use std::os::unix::fs::PermissionsExt as _;
    let tokens = token_file(TOKEN);
    std::fs::set_permissions(tokens.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let short = token_file("short");
    for (file, help) in [(&tokens, "help: chmod 600"), (&short, "help: `openssl")] {
        let dir = tiny();
        let args = [
            "--model-dir",
            dir.to_str().unwrap(),
            "--token-file",
            file.path().to_str().unwrap(),
        ];
        let (code, log) = Binary::spawn(&args).ended();
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(help), "{log}");
        assert!(!log.contains(TOKEN), "{log}");
    }
}

#[test]
fn a_token_that_cannot_be_read_stops_the_start() {
    use std::os::unix::ffi::OsStrExt as _;
    let start = |change: &dyn Fn(&mut std::process::Command)| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_llm-worker-rbee"));
        command.arg("--model-dir").arg(tiny());
        command.args(["--listen", "127.0.0.1:0"]);
        change(&mut command);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let log = start(&|command| {
        let token = std::ffi::OsStr::from_bytes(b"0123456789abcdef\xff");
        command.env(http_front::tokens::VARIABLE, token);
    });
    assert!(log.contains(http_front::tokens::VARIABLE), "{log}");
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("tokens");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let log = start(&|command| {
        command.arg("--token-file").arg(&pipe);
    });
    assert!(log.contains("not a regular file"), "{log}");
}

/// What a salt is for shows in the engine; here, that each request may have one.
#[tokio::test]
async fn a_salt_is_taken_with_every_kind_of_request() {
    let folder = Folder::endless();
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    let mut body = sing("j");
    body["max_tokens"] = json!(3);
    let plain = server.client.answer(&body).await.text;
    body["cache_salt"] = json!("mine");
    assert_eq!(server.client.answer(&body).await.text, plain);
    for salt in [json!(""), json!("x".repeat(129)), json!(1)] {
        body["cache_salt"] = salt;
        assert_eq!(server.client.post("/execute", &body).await.status(), 400);
    }
}
