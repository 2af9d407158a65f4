//! HTTP to workers.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use http_front::Trace;
use hyper::body::Incoming;
use hyper::{Method, Request, StatusCode, header};
use pool_core::serving::CORRELATION_HEADER;
use serde::de::DeserializeOwned;

use super::wire::{Idle, Wire};
use crate::core::AttemptError;

/// Bytes that a worker's answer has at most where it is read as a whole.
const MOST: usize = 64 * 1024 * 1024;

/// Connections to workers, kept for the next request.
pub struct Upstream {
    idle: Arc<Idle>,
    /// What workers are shown.
    token: Box<dyn Fn() -> Option<header::HeaderValue> + Send + Sync>,
}

/// What a worker answers. Dropped before its end, it closes the connection.
pub struct Answer {
    pub status: StatusCode,
    body: Incoming,
    /// None once all has been read.
    wire: Option<Wire>,
    authority: String,
    idle: Arc<Idle>,
}

impl Upstream {
    /// `token` is asked for each request, since it may change.
    pub fn new(token: impl Fn() -> Option<header::HeaderValue> + Send + Sync + 'static) -> Self {
        Self {
            idle: Arc::default(),
            token: Box::new(token),
        }
    }

    /// Sends JSON to a path of a worker, as part of a trace. Answers of every status are answers.
    pub async fn post(
        &self,
        url: &str,
        path: &str,
        body: Bytes,
        correlation_id: &str,
        trace: &Trace,
    ) -> Result<Answer, AttemptError> {
        let mut request = self
            .request(Method::POST, path)
            .header(header::CONTENT_TYPE, "application/json")
            .header(CORRELATION_HEADER, correlation_id);
        if let Some(headers) = request.headers_mut() {
            trace.inject(headers);
        }
        self.send(url, request, body).await
    }

    /// What a path of a worker has, whatever its status.
    pub async fn get<T: DeserializeOwned>(
        &self,
        url: &str,
        path: &str,
        limit: Duration,
    ) -> Result<T, AttemptError> {
        let answer = async {
            let request = self.request(Method::GET, path);
            let answer = self.send(url, request, Bytes::new()).await?;
            let (_, body) = answer.whole().await?;
            serde_json::from_slice(&body).map_err(|error| AttemptError::Protocol {
                message: format!("{path}: {error}"),
            })
        };
        let silent = |_| AttemptError::Stall {
            silent_ms: limit.as_millis() as u64,
        };
        tokio::time::timeout(limit, answer).await.map_err(silent)?
    }

    fn request(&self, method: Method, path: &str) -> hyper::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        match (self.token)() {
            Some(token) => request.header(header::AUTHORIZATION, token),
            None => request,
        }
    }

    async fn send(
        &self,
        url: &str,
        request: hyper::http::request::Builder,
        body: Bytes,
    ) -> Result<Answer, AttemptError> {
        let authority = url.strip_prefix("http://").unwrap_or(url);
        let request = request
            .header(header::HOST, authority)
            .body(Full::new(body));
        let mut request = request.map_err(|error| AttemptError::Connect {
            message: error.to_string(),
        })?;
        loop {
            let kept = self.idle.take(authority);
            let is_new = kept.is_none();
            let mut wire = match kept {
                Some(wire) => wire,
                None => Wire::connect(authority).await?,
            };
            match wire.ask(request).await {
                Ok(answer) => {
                    return Ok(Answer {
                        status: answer.status(),
                        body: answer.into_body(),
                        wire: Some(wire),
                        authority: authority.to_owned(),
                        idle: Arc::clone(&self.idle),
                    });
                }
                // The worker had closed the connection that was kept.
                Err(unsent) => match unsent.request.filter(|_| !is_new) {
                    Some(back) => request = back,
                    None => return Err(AttemptError::Cut),
                },
            }
        }
    }
}

impl Answer {
    /// The next bytes of the body: all that have come. None at its end.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, AttemptError>> {
        let Some(wire) = &mut self.wire else {
            return Poll::Ready(Ok(None));
        };
        let next = wire.poll_next(&mut self.body, context);
        if let Poll::Ready(Ok(None)) = next
            && let Some(wire) = self.wire.take()
        {
            let authority = std::mem::take(&mut self.authority);
            self.idle.keep(authority, wire, context);
        }
        next
    }

    /// [`Self::poll_next`], awaited.
    pub async fn next(&mut self) -> Result<Option<Bytes>, AttemptError> {
        std::future::poll_fn(|context| self.poll_next(context)).await
    }

    /// The status and the whole body.
    pub async fn whole(mut self) -> Result<(StatusCode, Bytes), AttemptError> {
        let mut body = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if body.len() + bytes.len() > MOST {
                return Err(AttemptError::Protocol {
                    message: format!("an answer has more than {MOST} bytes"),
                });
            }
            body.extend_from_slice(&bytes);
        }
        Ok((self.status, body.freeze()))
    }
}
