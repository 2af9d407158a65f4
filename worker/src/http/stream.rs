//! An answer as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pool_core::serving::{Failure, FailureCode, KEEP_ALIVE, StreamEvent};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::engine::Update;

/// Streams what `write` makes of each update. The receiver is dropped when the client leaves, which the engine notices by
/// the closed channel.
pub(super) fn stream(
    receiver: UnboundedReceiver<Update>,
    keep_alive: Duration,
    write: impl FnMut(Update, &mut String) + Send + 'static,
) -> Response {
    let frames = futures::stream::unfold(Some((receiver, write)), move |state| async move {
        let (mut receiver, mut write) = state?;
        let mut text = String::new();
        while text.is_empty() {
            let Ok(update) = tokio::time::timeout(keep_alive, receiver.recv()).await else {
                text.push_str(KEEP_ALIVE);
                break;
            };
            let mut next = Some(update.unwrap_or_else(cut));
            // What is there already travels together.
            while let Some(update) = next {
                let is_last = update.event.is_terminal();
                write(update, &mut text);
                if is_last {
                    return Some((text, None));
                }
                next = receiver.try_recv().ok();
            }
        }
        Some((text, Some((receiver, write))))
    });
    let body = Body::from_stream(futures::StreamExt::map(frames, Ok::<_, Infallible>));
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, body).into_response()
}

/// The inference thread is gone; a stream never ends in silence.
pub(super) fn cut() -> Update {
    StreamEvent::Error(Failure {
        code: FailureCode::Internal,
        message: "the worker failed".to_owned(),
        retriable: true,
    })
    .into()
}
