//! One connection, one stream.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::count::Count;

/// A connection that is open.
pub type Connection = SendRequest<Full<Bytes>>;

/// Who is asked, and for what.
pub struct Client {
    addresses: Vec<SocketAddr>,
    /// Connections that were opened.
    opened: AtomicUsize,
    pub model: String,
    pub tokens: u64,
    authorization: Option<String>,
    body: Bytes,
}

/// One stream that came whole.
pub struct Stream {
    /// The first token.
    pub first: Instant,
    pub end: Instant,
}

impl Client {
    pub fn new(
        addresses: Vec<SocketAddr>,
        model: String,
        tokens: u64,
        token: Option<String>,
    ) -> Self {
        let mut client = Self {
            addresses,
            opened: AtomicUsize::new(0),
            model,
            tokens,
            authorization: token.map(|token| format!("Bearer {token}")),
            body: Bytes::new(),
        };
        client.body = client.body("Say something.");
        client
    }

    /// The body of a request with this prompt.
    pub fn body(&self, prompt: &str) -> Bytes {
        let body = json!({
            "model": self.model,
            "messages": [{ "role": "user", "content": prompt }],
            "max_tokens": self.tokens,
            "stream": true,
        });
        body.to_string().into()
    }

    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        connect(self.addresses[number % self.addresses.len()]).await
    }

    /// Asks for a chat completion, and returns when the head of the answer is there.
    pub async fn send(
        &self,
        connection: &mut Connection,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        self.post(connection, "/v1/chat/completions", body).await
    }

    /// Posts, and returns when the head of an answer that is no error is there.
    pub async fn post(
        &self,
        connection: &mut Connection,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, "localhost")
            .header(CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        connection.ready().await?;
        let response = connection
            .send_request(request.body(Full::new(body))?)
            .await?;
        let status = response.status();
        ensure!(status.is_success(), "{}", status.as_u16());
        Ok(response)
    }

    /// Takes one stream to its end; `heard` is told of every piece with tokens in it, and how many those are.
    pub async fn stream(
        &self,
        connection: &mut Connection,
        mut heard: impl FnMut(Instant, u64),
    ) -> anyhow::Result<Stream> {
        let mut response = self.send(connection, self.body.clone()).await?;
        let mut count = Count::default();
        let mut first = None;
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.context("cut")?;
            let Some(bytes) = frame.data_ref() else {
                continue;
            };
            let tokens = count.push(bytes);
            if tokens > 0 {
                let now = Instant::now();
                first.get_or_insert(now);
                heard(now, tokens);
            }
        }
        ensure!(count.is_ended, "no end");
        ensure!(
            !count.is_broken && count.tokens == self.tokens,
            "tokens lost"
        );
        Ok(Stream {
            first: first.context("no tokens")?,
            end: Instant::now(),
        })
    }
}

pub async fn connect(address: SocketAddr) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(address).await.context("no connection")?;
    stream.set_nodelay(true)?;
    let (connection, driver) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// The body of a GET.
pub async fn get(address: SocketAddr, path: &str) -> anyhow::Result<Bytes> {
    let mut connection: Connection = connect(address).await?;
    let request = Request::get(path).header(HOST, address.to_string());
    let response = connection
        .send_request(request.body(Full::default())?)
        .await?;
    Ok(response.into_body().collect().await?.to_bytes())
}
