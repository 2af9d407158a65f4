//! What a source of the hub is now: its commit, the files that are needed, their sizes and digests.

use bytes::BytesMut;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use hf_hub::repository::RepoTreeEntry;
use pool_core::digest::Sha256;
use pool_core::folder::{self, INDEX};
use pool_core::model::{
    Manifest, ModelFacts, ModelFile, NotAModel, gguf_file, needed_file, needed_files,
};
use pool_core::path::FilePath;
use pool_core::rpc::{ErrorCode, HiveError, Resolved};
use pool_core::source::Source;
use pool_core::supply::HubAccess;
use reqwest::header::{ETAG, HeaderMap, LOCATION};
use reqwest::{StatusCode, Url};

use super::error::refused;
use super::{Asked, Patience, Repo, Trouble, head, unusable};
use crate::error::{Result, fail};

/// Files that are looked at at once.
const AT_ONCE: usize = 8;

/// Bytes of the longest file that is not stored by LFS, and of the longest that is read as text.
const LONGEST: u64 = 64 << 20;

/// Entries of the longest tree that is listed.
const MOST_ENTRIES: usize = 100_000;

/// Redirects within the hub, for a repository that was renamed.
const MOST_REDIRECTS: usize = 5;

/// Where a redirect to the place of a large file says its digest.
const LINKED_ETAG: &str = "x-linked-etag";

/// Where a refusal says of which kind it is.
const ERROR_CODE: &str = "x-error-code";

/// Looks a source of the hub up.
pub async fn resolve(source: &Source, access: &HubAccess) -> Result<Resolved> {
    let Source::Hub {
        repo,
        revision,
        file,
    } = source
    else {
        return Err(HiveError {
            code: ErrorCode::BadRequest,
            message: format!("{source} is not a source of the hub"),
            help: None,
        });
    };
    let mut repo = Repo::new(repo, revision.as_deref().unwrap_or("main"), access)?;
    repo.commit = commit(&repo).await?;
    let listed = list(&repo).await?;
    let paths: Vec<FilePath> = listed.iter().map(|entry| entry.path.clone()).collect();
    let not_a_model = |reason: NotAModel| {
        fail(
            ErrorCode::BadRequest,
            format!("{source} at {} is not a model: {reason}", repo.commit),
            "a model has config.json, tokenizer.json and *.safetensors, or is one *.gguf",
        )
    };
    let needed = match file {
        Some(file) => needed_file(&paths, file),
        None => needed_files(&paths),
    };
    let mut needed = needed.map_err(not_a_model)?;
    let index = listed.iter().find(|entry| entry.path.as_str() == INDEX);
    if let Some(index) = index.filter(|index| needed.contains(&index.path)) {
        let text = read(&repo, index).await?;
        let named = folder::named_by_index(&String::from_utf8_lossy(&text), &needed);
        needed = named.map_err(not_a_model)?;
    }
    let wanted = listed.iter().filter(|entry| needed.contains(&entry.path));
    let looking: Vec<_> = wanted.map(|entry| look(&repo, entry).boxed()).collect();
    // In order, so that of a model that is refused the configuration is told: that refusal says why.
    let looked: Vec<Looked> = futures::stream::iter(looking)
        .buffered(AT_ONCE)
        .try_collect()
        .await?;
    let facts = if let Some(gguf) = gguf_file(&needed) {
        let size = looked.iter().find(|looked| looked.file.path == *gguf);
        let size = size.map_or(0, |looked| looked.file.size);
        let facts = head::facts(&repo, gguf, size).await?;
        facts.map_err(|error| not_a_model(NotAModel::Gguf(error.to_string())))?
    } else {
        let config = looked.iter().find_map(|looked| looked.config.as_deref());
        ModelFacts::from_config(config.unwrap_or_default()).map_err(not_a_model)?
    };
    let files = looked.into_iter().map(|looked| looked.file).collect();
    let manifest = Manifest::new(files, facts);
    if !manifest.is_possible() {
        let what = format!(
            "{} says that {source} is larger than any disk",
            repo.endpoint
        );
        return Err(fail(
            ErrorCode::HubFailed,
            what,
            "is it a hub, or a mirror of one?",
        ));
    }
    Ok(Resolved {
        commit: repo.commit,
        manifest,
    })
}

/// An entry of the repository's tree.
struct Entry {
    path: FilePath,
    size: u64,
    is_lfs: bool,
}

/// A file, and the text of the one that says what the model is.
struct Looked {
    file: ModelFile,
    config: Option<String>,
}

/// Asks until there is an answer, for as long as somebody may wait for it.
pub(super) async fn ask<T, Answer: Future<Output = Asked<T>>>(
    repo: &Repo,
    question: impl Fn() -> Answer,
) -> Result<T> {
    let mut patience = Patience::little();
    loop {
        match question().await {
            Ok(answer) => return Ok(answer),
            Err(error) => match patience.after(Trouble::of(&error)) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(repo.explain(&error)),
            },
        }
    }
}

async fn commit(repo: &Repo) -> Result<String> {
    let info = ask(repo, || {
        let files = repo.files.info().revision(repo.commit.as_str());
        files.send()
    });
    let sha = info.await?.sha;
    let is_commit = |sha: &String| {
        sha.len() == 40
            && sha
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    sha.filter(is_commit).ok_or_else(|| {
        let what = format!("{} does not say which commit it has", repo.page());
        fail(
            ErrorCode::HubFailed,
            what,
            "is it a hub, or a mirror of one?",
        )
    })
}

/// The files of the repository. What has no safe name is nothing that a worker needs.
async fn list(repo: &Repo) -> Result<Vec<Entry>> {
    let tree = ask(repo, || async {
        let tree = repo.files.list_tree().revision(repo.commit.as_str());
        let entries = tree.recursive(true).limit(MOST_ENTRIES).send()?;
        entries.try_collect::<Vec<_>>().await
    });
    let files = tree.await?.into_iter().filter_map(|entry| match entry {
        RepoTreeEntry::File {
            path, size, lfs, ..
        } => Some(Entry {
            path: path.parse().ok()?,
            size,
            is_lfs: lfs.is_some(),
        }),
        RepoTreeEntry::Directory { .. } => None,
    });
    Ok(files.collect())
}

/// Learns the digest of a file: the hub knows that of a large one, a small one is read.
async fn look(repo: &Repo, entry: &Entry) -> Result<Looked> {
    let is_config = entry.path.as_str() == "config.json";
    let text = if entry.is_lfs && !is_config {
        None
    } else {
        Some(read(repo, entry).await?)
    };
    let sha256 = match &text {
        Some(text) => Sha256::of(text),
        None => linked_digest(repo, &entry.path).await?,
    };
    let file = ModelFile {
        path: entry.path.clone(),
        size: entry.size,
        sha256,
    };
    let config = text.filter(|_| is_config);
    let config = config.map(|text| String::from_utf8_lossy(&text).into_owned());
    Ok(Looked { file, config })
}

/// The content of a small file.
async fn read(repo: &Repo, entry: &Entry) -> Result<BytesMut> {
    let (path, size) = (&entry.path, entry.size);
    let odd = |what: String| {
        fail(
            ErrorCode::HubFailed,
            format!("{}: {path} {what}", repo.page()),
            "try again; if it repeats, the hub or its mirror has a fault",
        )
    };
    if size > LONGEST {
        return Err(odd(format!(
            "has {size} bytes, and at most {LONGEST} are read"
        )));
    }
    if size == 0 {
        return Ok(BytesMut::new());
    }
    let content = ask(repo, || async {
        let (_, mut stream) = repo.stream(path, 0..size).await?;
        let mut content = BytesMut::with_capacity(size as usize);
        while let Some(bytes) = stream.try_next().await? {
            content.extend_from_slice(&bytes);
            if content.len() as u64 > size {
                break;
            }
        }
        Ok(content)
    });
    let content = content.await?;
    if content.len() as u64 == size {
        return Ok(content);
    }
    Err(odd(format!("has not the {size} bytes that its tree says")))
}

/// The digest that the hub says of a file that is stored by LFS, without getting it.
async fn linked_digest(repo: &Repo, path: &FilePath) -> Result<Sha256> {
    let mut url = address(repo, path)?;
    for _ in 0..=MOST_REDIRECTS {
        let headers = ask(repo, || headers(repo, &url)).await??;
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let linked = text(LINKED_ETAG).or_else(|| text(ETAG.as_str()));
        let digest = linked.map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        if let Some(digest) = digest.and_then(|digest| digest.parse().ok()) {
            return Ok(digest);
        }
        let next = text(LOCATION.as_str()).and_then(|location| url.join(location).ok());
        match next.filter(|next| next.origin() == url.origin()) {
            Some(next) => url = next,
            None => break,
        }
    }
    Err(fail(
        ErrorCode::HubFailed,
        format!("{} does not say the sha256 of {path}", repo.page()),
        "is it a hub, or a mirror of one that passes X-Linked-Etag on?",
    ))
}

/// What a HEAD request says, or why this repository does not answer it.
async fn headers(repo: &Repo, url: &Url) -> Asked<Result<HeaderMap>> {
    let mut request = repo.http.head(url.clone());
    if let Some(token) = &repo.token {
        request = request.bearer_auth(token.expose());
    }
    let response = request.send().await?;
    let code = response.headers().get(ERROR_CODE);
    let code = code.and_then(|code| code.to_str().ok());
    match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            let status = response.status().as_u16();
            Ok(Err(refused(repo, status, code)))
        }
        _ => Ok(Ok(response.error_for_status()?.headers().clone())),
    }
}

/// Where the content of a file is asked for.
fn address(repo: &Repo, path: &FilePath) -> Result<Url> {
    let mut url = Url::parse(&repo.endpoint).map_err(|e| unusable(&e.to_string()))?;
    url.path_segments_mut()
        .map_err(|()| unusable("its address has no path"))?
        .pop_if_empty()
        .extend(repo.name.split('/'))
        .push("resolve")
        .push(&repo.commit)
        .extend(path.as_str().split('/'));
    Ok(url)
}
