//! Around every endpoint: the request is logged, its faults happen, and the bytes of the answer are counted.

use std::sync::Arc;

use axum::Extension;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Request as HttpRequest, State};
use axum::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, LOCATION, RANGE, RETRY_AFTER,
};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt as _;

use crate::faults::{Fault, Place};
use crate::line::Flushes;
use crate::log::{Entry, Request};
use crate::refusal::Refusal;
use crate::repos::Shared;
use crate::spoil::Spoil;

/// Hears of each request when its answer is over.
pub(crate) type Listener = Arc<dyn Fn(&Request) + Send + Sync>;

/// What watches one of the two hosts.
#[derive(Clone)]
pub(crate) struct Watcher {
    pub shared: Arc<Shared>,
    pub is_blob_host: bool,
    pub listener: Option<Listener>,
}

impl Watcher {
    fn place(&self, uri: &Uri) -> Place {
        match uri.path() {
            _ if self.is_blob_host => Place::Blobs,
            path if path.starts_with("/api/") => Place::Api,
            _ => Place::Resolve,
        }
    }

    /// The answer of a fault, if one takes the place of the right one.
    fn fault(&self, faults: &[Fault], uri: &Uri) -> Option<Response> {
        faults.iter().find_map(|fault| match *fault {
            Fault::Status {
                status,
                retry_after,
            } => {
                let status =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let seconds = retry_after.map(|seconds| [(RETRY_AFTER, seconds.to_string())]);
                let refusal = Refusal::status(status, "a fault that was asked for");
                Some(match seconds {
                    Some(seconds) => (seconds, refusal).into_response(),
                    None => refusal.into_response(),
                })
            }
            Fault::Loop => {
                let host = if self.is_blob_host {
                    &self.shared.blobs_url
                } else {
                    &self.shared.url
                };
                let location = [(LOCATION, format!("{host}{uri}"))];
                Some((StatusCode::FOUND, location).into_response())
            }
            _ => None,
        })
    }
}

/// Notes the end of an answer when its body is dropped, sent or not.
struct Ending(Arc<Entry>, Option<Listener>);

impl Drop for Ending {
    fn drop(&mut self) {
        let request = self.0.end();
        if let Some(listener) = &self.1 {
            listener(&request);
        }
    }
}

pub(crate) async fn watch(
    State(watcher): State<Watcher>,
    Extension(flushes): Extension<Flushes>,
    mut request: HttpRequest,
    next: Next,
) -> Response {
    let place = watcher.place(request.uri());
    let is_head = request.method() == Method::HEAD;
    let entry = watcher.shared.log.begin(Request {
        place,
        method: request.method().to_string(),
        path: request.uri().to_string(),
        range: text(request.headers(), &RANGE).map(str::to_owned),
        has_token: request.headers().contains_key(AUTHORIZATION),
        status: 0,
        start: 0,
        sent: 0,
        is_over: false,
    });
    let ending = Ending(Arc::clone(&entry), watcher.listener.clone());
    let faults = watcher.shared.faults.take(place, is_head);
    if faults.contains(&Fault::Whole) {
        request.headers_mut().remove(RANGE);
    }
    let response = match watcher.fault(&faults, request.uri()) {
        Some(response) => response,
        None => next.run(request).await,
    };
    let (mut parts, body) = response.into_parts();
    entry.answer(parts.status.as_u16(), start(&parts.headers));
    let length = match text(&parts.headers, &CONTENT_LENGTH) {
        Some(length) => length.parse().ok(),
        None => body.size_hint().exact(),
    };
    let Some(length) = length.filter(|_| parts.status != StatusCode::NOT_MODIFIED) else {
        return Response::from_parts(parts, body);
    };
    if is_head || length == 0 {
        parts.headers.insert(CONTENT_LENGTH, length.into());
        return Response::from_parts(parts, Body::empty());
    }
    let spoil = Spoil::new(&faults, length);
    parts.headers.insert(CONTENT_LENGTH, spoil.length.into());
    let pieces = spoil.apply(body, flushes);
    // The body has no length of its own, so that the header counts, right or wrong.
    let counted = pieces.inspect_ok(move |piece| ending.0.sent(piece.len()));
    Response::from_parts(parts, Body::from_stream(counted))
}

/// The place of the first byte of an answer in the whole.
fn start(headers: &HeaderMap) -> u64 {
    let range = text(headers, &CONTENT_RANGE);
    let range = range.and_then(|range| range.strip_prefix("bytes "));
    let first = range.and_then(|range| range.split_once('-'));
    first.and_then(|(first, _)| first.parse().ok()).unwrap_or(0)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
