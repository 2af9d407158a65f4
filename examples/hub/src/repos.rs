//! What a hub has, and which commit a request means.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use serde_json::Value;

use crate::access::{self, Access, Need};
use crate::commit::Commit;
use crate::content::Content;
use crate::error::HubError;
use crate::faults::Faults;
use crate::log::Log;
use crate::refusal::Refusal;

/// The branch that every repository has.
const MAIN: &str = "main";

/// All that the endpoints share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub url: String,
    pub blobs_url: String,
    /// Entries of a page of a tree; without it, as many as the real hub gives.
    pub page_size: Option<usize>,
    pub lfs_over: u64,
    pub tokens: BTreeSet<String>,
    pub faults: Faults,
    pub log: Log,
    pub repos: Mutex<BTreeMap<String, Repo>>,
    /// Content by its SHA-256, of all commits there ever were.
    pub blobs: Mutex<HashMap<String, Content>>,
}

/// A repository with all its commits.
#[derive(Debug, Clone)]
pub(crate) struct Repo {
    pub access: Access,
    pub main: Arc<Commit>,
    pub commits: BTreeMap<String, Arc<Commit>>,
    /// Entries that trees show beside those of the commit.
    pub listed: Vec<Value>,
}

/// The part of a repository that a request is about.
#[derive(Debug)]
pub(crate) struct Found {
    pub name: String,
    pub access: Access,
    pub commit: Arc<Commit>,
    pub listed: Vec<Value>,
}

/// A lock whose holder panicked is as good as another: each change is one assignment.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Repo {
    pub fn new(access: Access, commit: Arc<Commit>) -> Self {
        Self {
            access,
            main: Arc::clone(&commit),
            commits: BTreeMap::from([(commit.id.clone(), commit)]),
            listed: Vec::new(),
        }
    }

    /// Puts a commit where the branch points; the others stay.
    pub fn set_main(&mut self, commit: Commit) {
        let commit = Arc::new(commit);
        self.main = Arc::clone(&commit);
        self.commits.insert(commit.id.clone(), commit);
    }

    fn commit(&self, revision: &str) -> Option<&Arc<Commit>> {
        match revision {
            MAIN | "refs/heads/main" => Some(&self.main),
            id => self.commits.get(id),
        }
    }
}

impl Shared {
    /// The commit that a request means, if whoever asks may have it.
    pub fn find(
        &self,
        (org, name): (&str, &str),
        revision: Option<&str>,
        headers: &HeaderMap,
        need: Need,
    ) -> Result<Found, Refusal> {
        let token = access::token(headers, &self.tokens)?;
        let name = format!("{org}/{name}");
        let repos = lock(&self.repos);
        let repo = repos.get(&name);
        let repo = repo.ok_or_else(|| Refusal::no_repo(token.is_some()))?;
        repo.access.check(&self.url, &name, need, token)?;
        let revision = revision.unwrap_or(MAIN);
        let commit = repo.commit(revision);
        let commit = commit.ok_or_else(|| Refusal::no_revision(revision))?;
        Ok(Found {
            name,
            access: repo.access.clone(),
            commit: Arc::clone(commit),
            listed: repo.listed.clone(),
        })
    }

    /// Changes a repository; its content can be fetched from then on.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Repo)) -> Result<(), HubError> {
        let mut repos = lock(&self.repos);
        let repo = repos.get_mut(name);
        let repo = repo.ok_or_else(|| HubError::NoRepo(name.to_owned()))?;
        change(repo);
        self.offer(&repo.main);
        Ok(())
    }

    /// Makes the large files of a commit known to the blob host.
    pub fn offer(&self, commit: &Commit) {
        let mut blobs = lock(&self.blobs);
        for file in commit.files.values() {
            if let Some(lfs) = &file.lfs {
                blobs.insert(lfs.sha256.clone(), file.content.clone());
            }
        }
    }
}
