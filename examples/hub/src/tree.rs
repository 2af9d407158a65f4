//! `GET /api/models/{org}/{repo}/tree/{revision}[/{folder}]`: the files and folders of a commit, page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::LINK;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::access::Need;
use crate::commit::{Commit, RepoFile, within};
use crate::info::{DATE, is_set, value};
use crate::refusal::Refusal;
use crate::repos::{Found, Shared};

/// What the real hub gives at once; with details, less.
const PAGE: usize = 1000;
const EXPANDED_PAGE: usize = 50;

pub(crate) async fn of_root(
    state: State<Arc<Shared>>,
    Path((org, name, revision)): Path<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let path = Path((org, name, revision, String::new()));
    of_folder(state, path, uri, headers).await
}

pub(crate) async fn of_folder(
    State(shared): State<Arc<Shared>>,
    Path((org, name, revision, folder)): Path<(String, String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let found = shared.find((&org, &name), Some(&revision), &headers, Need::List)?;
    let recursive = is_set(uri.query(), "recursive");
    let expand = is_set(uri.query(), "expand");
    let Some(entries) = entries(&found, &folder, recursive, expand) else {
        let message = format!("{folder} does not exist on \"{revision}\"");
        return Err(Refusal::no_entry(&found.commit.id, message));
    };
    let usual = if expand { EXPANDED_PAGE } else { PAGE };
    let size = shared.page_size.unwrap_or(usual).max(1);
    let cursor = value(uri.query(), "cursor").and_then(|text| text.parse().ok());
    let start = cursor.unwrap_or(0);
    let page: Vec<_> = entries.iter().skip(start).take(size).collect();
    let mut response = Json(&page).into_response();
    if start + size < entries.len()
        && let Ok(link) = next(&shared.url, &uri, start + size).parse()
    {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// What is in a folder, folders first; nothing if there is no such folder.
fn entries(found: &Found, folder: &str, recursive: bool, expand: bool) -> Option<Vec<Value>> {
    let commit = &found.commit;
    let is_shown = |path: &str| {
        let inner = match folder {
            "" => path,
            folder if within(path, folder) => &path[folder.len() + 1..],
            _ => return false,
        };
        recursive || !inner.contains('/')
    };
    let mut folders = commit.folders();
    if !folder.is_empty() && !folders.contains_key(folder) {
        return None;
    }
    folders.retain(|path, _| is_shown(path));
    let folders = folders
        .iter()
        .map(|(path, oid)| json!({ "type": "directory", "oid": oid, "size": 0, "path": path }));
    let files = commit.files.iter().filter(|(path, _)| is_shown(path));
    let files = files.map(|(path, file)| entry(path, file, expand));
    let mut entries: Vec<_> = folders.chain(files).collect();
    if expand {
        for entry in &mut entries {
            detail(entry, commit);
        }
    }
    if folder.is_empty() {
        entries.extend(found.listed.iter().cloned());
    }
    Some(entries)
}

fn entry(path: &str, file: &RepoFile, expand: bool) -> Value {
    let size = file.content.size();
    let mut entry = json!({ "type": "file", "oid": file.oid, "size": size, "path": path });
    if let Some(lfs) = &file.lfs {
        entry["lfs"] = json!({ "oid": lfs.sha256, "size": size, "pointerSize": lfs.pointer_size });
    }
    if expand {
        entry["securityFileStatus"] =
            json!({ "status": "safe", "avScan": null, "pickleImportScan": null });
    }
    entry
}

/// Every file was last changed by the commit that is asked for.
fn detail(entry: &mut Value, commit: &Commit) {
    entry["lastCommit"] = json!({ "id": commit.id, "title": "Push a folder", "date": DATE });
}

/// Where the next page is: the same question with another cursor.
fn next(url: &str, uri: &Uri, cursor: usize) -> String {
    let pairs = uri.query().unwrap_or_default().split('&');
    let kept = pairs.filter(|pair| !pair.is_empty() && !pair.starts_with("cursor="));
    let cursor = format!("cursor={cursor}");
    let query: Vec<_> = kept.chain([cursor.as_str()]).collect();
    let (path, query) = (uri.path(), query.join("&"));
    format!("<{url}{path}?{query}>; rel=\"next\"")
}
