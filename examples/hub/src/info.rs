//! `GET /api/models/{org}/{repo}[/revision/{revision}]`: what a repository is.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::access::{Access, Need};
use crate::commit::RepoFile;
use crate::refusal::Refusal;
use crate::repos::{Found, Shared};

/// Commits have no date of their own.
pub(crate) const DATE: &str = "2025-01-01T00:00:00.000Z";

pub(crate) async fn of_main(
    State(shared): State<Arc<Shared>>,
    Path((org, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let found = shared.find((&org, &name), None, &headers, Need::List)?;
    Ok(Json(describe(&found, query.as_deref())))
}

pub(crate) async fn of_revision(
    State(shared): State<Arc<Shared>>,
    Path((org, name, revision)): Path<(String, String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, Refusal> {
    let found = shared.find((&org, &name), Some(&revision), &headers, Need::List)?;
    Ok(Json(describe(&found, query.as_deref())))
}

fn describe(found: &Found, query: Option<&str>) -> Value {
    let with_blobs = is_set(query, "blobs");
    let files = &found.commit.files;
    let siblings: Vec<_> = files
        .iter()
        .map(|(path, file)| sibling(path, file, with_blobs))
        .collect();
    let gated = match found.access {
        Access::Gated(_) => json!("manual"),
        _ => json!(false),
    };
    let used: u64 = files.values().map(|file| file.content.size()).sum();
    json!({
        "_id": &found.commit.id[..24],
        "id": found.name,
        "modelId": found.name,
        "author": found.name.split('/').next(),
        "sha": found.commit.id,
        "createdAt": DATE,
        "lastModified": DATE,
        "private": matches!(found.access, Access::Private(_)),
        "gated": gated,
        "disabled": false,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "usedStorage": used,
        "siblings": siblings,
    })
}

fn sibling(path: &str, file: &RepoFile, with_blobs: bool) -> Value {
    let mut sibling = json!({ "rfilename": path });
    if with_blobs {
        let size = file.content.size();
        sibling["size"] = size.into();
        sibling["blobId"] = file.oid.as_str().into();
        if let Some(lfs) = &file.lfs {
            sibling["lfs"] =
                json!({ "sha256": lfs.sha256, "size": size, "pointerSize": lfs.pointer_size });
        }
    }
    sibling
}

/// Whether a query has `name=true`, in the spellings of the clients.
pub(crate) fn is_set(query: Option<&str>, name: &str) -> bool {
    value(query, name).is_some_and(|value| matches!(value, "true" | "True" | "1"))
}

/// The value of a parameter, as it is in the query.
pub(crate) fn value<'a>(query: Option<&'a str>, name: &str) -> Option<&'a str> {
    let pairs = query.unwrap_or_default().split('&');
    pairs
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}
