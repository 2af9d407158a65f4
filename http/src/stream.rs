//! An answer as server-sent events.

use std::convert::Infallible;
use std::ops::ControlFlow;
use std::time::Duration;

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pool_core::serving::KEEP_ALIVE;
use tokio::sync::mpsc::UnboundedReceiver;

/// Streams what `write` makes of each update, until it breaks. It gets none, as the last, when the sender is gone.
///
/// The receiver is dropped when the client leaves, which the sender notices by the closed channel. A stream that is silent
/// for `keep_alive` gets a comment.
pub fn stream<T: Send + 'static>(
    receiver: UnboundedReceiver<T>,
    keep_alive: Duration,
    write: impl FnMut(Option<T>, &mut String) -> ControlFlow<()> + Send + 'static,
) -> Response {
    let frames = futures::stream::unfold(Some((receiver, write)), move |state| async move {
        let (mut receiver, mut write) = state?;
        let mut text = String::new();
        while text.is_empty() {
            let Ok(mut next) = tokio::time::timeout(keep_alive, receiver.recv()).await else {
                text.push_str(KEEP_ALIVE);
                break;
            };
            // What is there already travels together.
            loop {
                let is_last = next.is_none();
                if write(next, &mut text).is_break() || is_last {
                    return Some((text, None));
                }
                match receiver.try_recv() {
                    Ok(update) => next = Some(update),
                    Err(_) => break,
                }
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
