//! A hub that runs, as a test holds it.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use tokio::runtime::{self, Runtime};

use crate::builder::Builder;
use crate::commit::{Commit, RepoFile};
use crate::content::Content;
use crate::error::HubError;
use crate::faults::{Faults, Place};
use crate::log::{self, Request};
use crate::repos::{Repo, Shared, lock};
use crate::serve::{router, serve};
use crate::watch::{Listener, Watcher};

/// A hub, served by threads of its own until it is dropped.
#[derive(Debug)]
pub struct Hub {
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Hub {
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn serve(
        shared: Shared,
        hub: TcpListener,
        blobs: TcpListener,
        listener: Option<Listener>,
    ) -> Result<Self, HubError> {
        let shared = Arc::new(shared);
        for repo in lock(&shared.repos).values() {
            shared.offer(&repo.main);
        }
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("local-hub")
            .enable_all()
            .build()
            .map_err(HubError::Listen)?;
        let guard = runtime.enter();
        for (socket, is_blob_host) in [(hub, false), (blobs, true)] {
            let socket = tokio::net::TcpListener::from_std(socket).map_err(HubError::Listen)?;
            let watcher = Watcher {
                shared: Arc::clone(&shared),
                is_blob_host,
                listener: listener.clone(),
            };
            runtime.spawn(serve(socket, router(watcher)));
        }
        drop(guard);
        Ok(Self {
            shared,
            runtime: Some(runtime),
        })
    }

    /// What `HF_ENDPOINT` is to be.
    pub fn url(&self) -> &str {
        &self.shared.url
    }

    /// Where large files are.
    pub fn blobs_url(&self) -> &str {
        &self.shared.blobs_url
    }

    /// The commit that `main` points to.
    pub fn commit(&self, repo: &str) -> Option<String> {
        let repos = lock(&self.shared.repos);
        repos.get(repo).map(|repo| repo.main.id.clone())
    }

    /// Makes a commit of a folder and points `main` to it; earlier commits stay readable. Returns its id.
    ///
    /// Files of up to 1 MiB are copied. Larger ones are read where they are, and must stay what they are.
    pub fn push(&self, repo: &str, folder: impl AsRef<Path>) -> Result<String, HubError> {
        let commit = Commit::read(folder.as_ref(), self.shared.lfs_over)?;
        let id = commit.id.clone();
        self.shared.change(repo, |repo| repo.set_main(commit))?;
        Ok(id)
    }

    /// Gives the commit of `main` other files under the same id, as a hub does that rewrote its history.
    pub fn replace(&self, repo: &str, folder: impl AsRef<Path>) -> Result<(), HubError> {
        let mut commit = Commit::read(folder.as_ref(), self.shared.lfs_over)?;
        self.shared.change(repo, |repo: &mut Repo| {
            commit.id.clone_from(&repo.main.id);
            repo.set_main(commit);
        })
    }

    /// Commits one more file, whose path may be one that no folder has, such as `../name`. Returns the commit's id.
    pub fn add_file(&self, repo: &str, path: &str, content: &[u8]) -> Result<String, HubError> {
        let content = Content::Memory(content.to_vec().into());
        let file = RepoFile::new(path, content, self.shared.lfs_over);
        let file = file.map_err(|source| HubError::Read {
            path: path.into(),
            source,
        })?;
        let mut id = String::new();
        self.shared.change(repo, |repo| {
            let mut files: BTreeMap<String, RepoFile> = repo.main.files.clone();
            files.insert(path.to_owned(), file);
            let commit = Commit::of(files);
            id.clone_from(&commit.id);
            repo.set_main(commit);
        })?;
        Ok(id)
    }

    /// Shows an entry at the end of the tree of a repository's every commit, whatever it says.
    pub fn add_entry(&self, repo: &str, entry: Value) -> Result<(), HubError> {
        self.shared.change(repo, |repo| repo.listed.push(entry))
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// The requests since the start or since they were forgotten, in the order of their coming.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.log.read()
    }

    pub fn forget_requests(&self) {
        self.shared.log.clear();
    }

    /// Bytes that the blob host gave out with the statuses 200 and 206.
    pub fn blob_bytes(&self) -> u64 {
        let requests = self.requests();
        let blobs = requests.iter().filter(|r| r.place == Place::Blobs);
        let good = blobs.filter(|r| matches!(r.status, 200 | 206));
        good.map(|r| r.sent).sum()
    }

    /// Bytes of blobs that were given out though they had been given out before.
    pub fn fetched_twice(&self) -> u64 {
        log::twice(&self.requests())
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Tests may drop it where no thread may be waited for.
            runtime.shutdown_background();
        }
    }
}
