//! `GET /blobs/{sha256}` of the blob host: content, whole or in part, for whoever knows its name.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;

use crate::range;
use crate::refusal::Refusal;
use crate::repos::{Shared, lock};

pub(crate) async fn blob(
    State(shared): State<Arc<Shared>>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let content = lock(&shared.blobs).get(&sha256).cloned();
    match content {
        Some(content) => Ok(range::answer(&headers, &sha256, &content).await),
        None => Err(Refusal::status(StatusCode::NOT_FOUND, "no such blob")),
    }
}
