//! The body of a request, read within limits of type, size and time.

use std::sync::Arc;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use futures::StreamExt as _;
use pool_core::serving::ErrorCode;

use crate::front::Front;
use crate::refusal::Refusal;

/// Bytes that a body has at most.
pub const MOST: usize = 2 * 1024 * 1024;

/// A body that claims to be JSON. Whether it is, its reader finds out.
pub struct Json(pub Vec<u8>);

impl<F: Front> FromRequest<Arc<F>> for Json {
    type Rejection = Refusal;

    async fn from_request(request: Request, service: &Arc<F>) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        if !is_json(&head.headers) {
            let message = "the body must be JSON, and the header Content-Type application/json";
            return Err(Refusal::new(ErrorCode::UnsupportedMediaType, message));
        }
        if announced(&head.headers).is_some_and(|length| length > MOST as u64) {
            return Err(too_large());
        }
        let read = tokio::time::timeout(service.body_timeout(), collect(body.into_data_stream()));
        let late = |_| {
            Refusal::new(
                ErrorCode::RequestTimeout,
                "the body took too long to arrive",
            )
        };
        read.await.map_err(late)?.map(Self)
    }
}

/// A web page cannot send this type to another site without being asked first (CORS).
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn announced(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

async fn collect(mut body: BodyDataStream) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let cut = |_| Refusal::new(ErrorCode::InvalidRequest, "the body cannot be read");
        let piece = piece.map_err(cut)?;
        if bytes.len() + piece.len() > MOST {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

fn too_large() -> Refusal {
    Refusal::new(
        ErrorCode::PayloadTooLarge,
        format!("the body has more than {MOST} bytes"),
    )
}
