//! A collector of spans, as OTLP over HTTP has it. Tests include this file by its path.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode as Status;
use prost::Message as _;

/// A span that was sent.
#[derive(Debug, Clone)]
pub struct Span {
    pub service: String,
    pub name: String,
    /// `Server`, `Client`, `Internal`.
    pub kind: String,
    pub trace: String,
    pub id: String,
    /// Empty for the first of a trace.
    pub parent: String,
    /// Nanoseconds since 1970.
    pub time: std::ops::Range<u64>,
    pub attributes: BTreeMap<String, String>,
    pub is_error: bool,
}

impl Span {
    /// An attribute as text; empty where there is none.
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

/// Listens on a thread of its own, so that a test may block.
pub struct Collector {
    pub url: String,
    spans: Arc<Mutex<Vec<Span>>>,
}

impl Collector {
    pub fn start() -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let spans = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&spans);
        let take = async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            let sent = ExportTraceServiceRequest::decode(body).unwrap();
            kept.lock().unwrap().extend(read(sent));
            StatusCode::OK
        };
        let router = Router::new().route("/v1/traces", post(take));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                axum::serve(listener, router).await
            })
        });
        Self { url, spans }
    }

    /// What came until now.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.lock().unwrap().clone()
    }
}

/// The only span with this name.
pub fn one<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let named: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    assert_eq!(named.len(), 1, "{name} in {spans:#?}");
    named[0]
}

fn read(sent: ExportTraceServiceRequest) -> Vec<Span> {
    let mut spans = Vec::new();
    for resource in sent.resource_spans {
        let about = texts(resource.resource.unwrap_or_default().attributes);
        for span in resource
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans)
        {
            assert!(span.events.is_empty() && span.links.is_empty());
            spans.push(Span {
                service: about["service.name"].clone(),
                kind: format!("{:?}", span.kind()),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                time: span.start_time_unix_nano..span.end_time_unix_nano,
                is_error: span
                    .status
                    .is_some_and(|status| status.code() == Status::Error),
                attributes: texts(span.attributes),
                name: span.name,
            });
        }
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let texts = attributes.into_iter().map(|attribute| {
        let value = text(attribute.value.unwrap_or_default());
        (attribute.key, value)
    });
    texts.collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::ArrayValue(array)) => {
            let texts: Vec<String> = array.values.into_iter().map(text).collect();
            texts.join(",")
        }
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}
