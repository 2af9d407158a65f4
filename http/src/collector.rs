//! HTTP to a collector of spans.

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use axum::body::Bytes;
use axum::http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_http::{HttpClient, HttpError};
use tokio::runtime::Runtime;

/// How long one batch may take to be taken: what the protocol has for a default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that an answer has at most.
const MOST: usize = 64 * 1024;

/// Connections to a collector. They have a runtime of their own: the thread that sends batches is in none.
#[derive(Debug)]
pub(crate) struct Collector {
    runtime: Runtime,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Collector {
    pub fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { runtime, client })
    }
}

#[async_trait]
impl HttpClient for Collector {
    /// Blocks its thread, which does nothing else.
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let exchange = async {
            let answer = self.client.request(request.map(Full::new)).await?;
            let (head, body) = answer.into_parts();
            let body = Limited::new(body, MOST).collect().await?.to_bytes();
            Ok(Response::from_parts(head, body))
        };
        let exchange = async { tokio::time::timeout(PATIENCE, exchange).await };
        self.runtime.block_on(exchange)?
    }
}
