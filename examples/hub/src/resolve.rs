//! `GET /{org}/{repo}/resolve/{revision}/{path}`: a small file itself, or the place where a large one is.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_RANGES, ETAG, IF_NONE_MATCH, LOCATION};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::access::Need;
use crate::commit::{Lfs, RepoFile};
use crate::range;
use crate::refusal::Refusal;
use crate::repos::Shared;

const COMMIT: HeaderName = HeaderName::from_static("x-repo-commit");
const LINKED_SIZE: HeaderName = HeaderName::from_static("x-linked-size");
const LINKED_ETAG: HeaderName = HeaderName::from_static("x-linked-etag");

pub(crate) async fn file(
    State(shared): State<Arc<Shared>>,
    Path((org, name, revision, path)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let found = shared.find((&org, &name), Some(&revision), &headers, Need::Content)?;
    let commit = &found.commit;
    let Some(file) = commit.files.get(&path) else {
        return Err(Refusal::no_entry(&commit.id, "Entry not found"));
    };
    let mut response = if is_known(file, &headers) {
        let etag = [(ETAG, format!("\"{}\"", file.etag()))];
        (StatusCode::NOT_MODIFIED, etag).into_response()
    } else if let Some(lfs) = &file.lfs {
        elsewhere(&shared.blobs_url, lfs, file.content.size())
    } else {
        range::answer(&headers, file.etag(), &file.content).await
    };
    if let Ok(commit) = HeaderValue::from_str(&commit.id) {
        response.headers_mut().insert(COMMIT, commit);
    }
    Ok(response)
}

/// Whether the client has this content already.
fn is_known(file: &RepoFile, headers: &HeaderMap) -> bool {
    let known = headers.get(IF_NONE_MATCH);
    let known = known.and_then(|known| known.to_str().ok());
    known.is_some_and(|known| known.trim_matches('"') == file.etag())
}

fn elsewhere(blobs_url: &str, lfs: &Lfs, size: u64) -> Response {
    let location = format!("{blobs_url}/blobs/{}", lfs.sha256);
    let etag = format!("\"{}\"", lfs.sha256);
    let text = format!("Found. Redirecting to {location}");
    let headers = [
        (LOCATION, location),
        (ETAG, etag.clone()),
        (LINKED_ETAG, etag),
        (LINKED_SIZE, size.to_string()),
        (ACCEPT_RANGES, "bytes".to_owned()),
    ];
    (StatusCode::FOUND, headers, text).into_response()
}
