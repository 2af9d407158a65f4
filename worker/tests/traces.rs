//! Spans, as a collector gets them.

use pool_core::serving::{SseParser, StreamCheck};
use reqwest::Method;
use serde_json::{Value, json};

use crate::collector::{Collector, Span, one};
use crate::support::{Binary, Client, Folder, ask, sing, tiny, within};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";
const QUESTION: &str = "Is-it-nobodys-business?";

/// Asks as part of a trace.
async fn send(client: &Client, path: &str, body: &Value) -> reqwest::Response {
    let request = client
        .request(Method::POST, path)
        .header("traceparent", format!("00-{TRACE}-{CLIENT}-01"))
        .header("x-correlation-id", "a-client-1")
        .json(body);
    let answer = within(request.send()).await.unwrap();
    assert_eq!(answer.status(), 200);
    answer
}

/// Ends the worker, which sends what is left; all of it must be of the client's trace.
fn spans(binary: Binary, collector: &Collector) -> Vec<Span> {
    binary.signal("TERM");
    let (code, log) = binary.ended();
    assert_eq!(code, Some(0), "{log}");
    let spans = collector.spans();
    for span in &spans {
        assert_eq!(span.service, "llm-worker-rbee");
        assert_eq!(span.trace, TRACE, "{span:?}");
        assert_eq!(span.get("rbee.correlation_id"), "a-client-1", "{span:?}");
        assert!(!format!("{span:?}").contains(QUESTION), "{span:?}");
    }
    spans
}

/// The span of the only request, whose parts must follow each other within it.
fn request<'a>(spans: &'a [Span], name: &str, tokens: (u64, u64)) -> &'a Span {
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let request = one(spans, name);
    assert_eq!(
        (request.kind.as_str(), request.parent.as_str()),
        ("Server", CLIENT)
    );
    assert_eq!(request.get("http.response.status_code"), "200");
    let (prefill, decode) = (one(spans, "prefill"), one(spans, "decode"));
    assert_eq!(
        (&prefill.parent, &decode.parent),
        (&request.id, &request.id)
    );
    assert!(request.time.start <= prefill.time.start);
    assert!(prefill.time.start < prefill.time.end);
    assert!(decode.time.start < decode.time.end);
    assert!(decode.time.end <= request.time.end);
    let (tokens_in, tokens_out) = (tokens.0.to_string(), tokens.1.to_string());
    assert_eq!(prefill.get("gen_ai.usage.input_tokens"), tokens_in);
    assert_eq!(decode.get("gen_ai.usage.output_tokens"), tokens_out);
    assert_eq!(request.get("gen_ai.usage.input_tokens"), tokens_in);
    assert_eq!(request.get("gen_ai.usage.output_tokens"), tokens_out);
    request
}

#[tokio::test]
async fn a_job_is_a_child_of_the_span_that_asks_and_has_prefill_and_decode() {
    let collector = Collector::start();
    let (binary, client) = Binary::serve_with(&tiny(), &["--traces", &collector.url]);
    let answer = send(&client, "/execute", &ask("job-1", QUESTION)).await;
    let mut check = StreamCheck::default();
    for frame in SseParser::default().push(&answer.bytes().await.unwrap()) {
        check.frame(&frame).unwrap();
    }
    let end = check.finish().unwrap().end;

    let spans = spans(binary, &collector);
    let request = request(&spans, "POST /execute", (end.tokens_in, end.tokens_out));
    assert_eq!(request.get("gen_ai.request.model"), "tiny-llama");
    assert!(["stop", "length"].contains(&request.get("gen_ai.response.finish_reasons")));
    assert!(!request.is_error);
}

#[tokio::test]
async fn a_whole_answer_has_the_same_spans() {
    let collector = Collector::start();
    let (binary, client) = Binary::serve_with(&tiny(), &["--traces", &collector.url]);
    let messages = json!([{"role": "user", "content": QUESTION}]);
    let body =
        json!({"model": "tiny-llama", "messages": messages, "max_tokens": 3, "temperature": 0});
    let answer = send(&client, "/v1/chat/completions", &body).await;
    let answer: Value = answer.json().await.unwrap();
    let count = |name: &str| answer["usage"][name].as_u64().unwrap();
    let tokens = (count("prompt_tokens"), count("completion_tokens"));

    let spans = spans(binary, &collector);
    request(&spans, "POST /v1/chat/completions", tokens);
}

#[tokio::test]
async fn a_job_whose_client_leaves_is_cancelled() {
    let collector = Collector::start();
    let folder = Folder::endless();
    let args = ["--traces", &collector.url, "--model", "tiny"];
    let (binary, client) = Binary::serve_with(folder.path(), &args);
    let mut answer = send(&client, "/execute", &sing("song")).await;
    answer.chunk().await.unwrap().unwrap();
    client.until_busy(1).await;
    drop(answer);
    client.until_busy(0).await;
    let spans = spans(binary, &collector);
    let request = one(&spans, "POST /execute");
    assert_eq!(request.get("rbee.outcome"), "cancelled");
    assert_eq!(one(&spans, "prefill").parent, request.id);
}

#[tokio::test]
async fn no_collector_delays_the_end() {
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", hanging.local_addr().unwrap());
    let (binary, client) = Binary::serve_with(&tiny(), &["--traces", &url]);
    client.answer(&ask("job-1", "Hello?")).await;
    let told = std::time::Instant::now();
    binary.signal("TERM");
    let (code, log) = binary.ended();
    assert_eq!(code, Some(0), "{log}");
    let took = told.elapsed();
    assert!(took < std::time::Duration::from_secs(5), "{took:?}");
    assert!(log.contains("the last spans were not sent"), "{log}");
}
