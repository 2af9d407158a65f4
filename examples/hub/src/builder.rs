//! What a hub is made of.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::access::Access;
use crate::commit::Commit;
use crate::error::HubError;
use crate::faults::Faults;
use crate::hub::Hub;
use crate::log::{Log, Request};
use crate::repos::{Repo, Shared};
use crate::watch::Listener;

/// Larger files are stored by LFS.
const LFS_OVER: u64 = 10 << 20;

/// Says what a hub has; made by [`Hub::builder`].
#[derive(Default)]
#[must_use]
pub struct Builder {
    folders: BTreeMap<String, PathBuf>,
    roots: Vec<PathBuf>,
    access: BTreeMap<String, Access>,
    tokens: BTreeSet<String>,
    lfs_over: Option<u64>,
    page_size: Option<usize>,
    listen: Option<SocketAddr>,
    listener: Option<Listener>,
}

impl Builder {
    /// A repository `org/name` with the files of a folder.
    pub fn repo(mut self, name: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        self.folders.insert(name.into(), folder.into());
        self
    }

    /// A repository for each folder `root/org/name`.
    pub fn root(mut self, root: impl Into<PathBuf>) -> Self {
        self.roots.push(root.into());
        self
    }

    /// The files of a repository are for this token, and for others that are named so.
    pub fn gated(mut self, name: impl Into<String>, token: impl Into<String>) -> Self {
        let access = self.access.entry(name.into()).or_default();
        let mut tokens: BTreeSet<String> = access.tokens().cloned().collect();
        tokens.insert(token.into());
        *access = Access::Gated(tokens);
        self
    }

    /// Without this token, or others that are named so, the repository is not there.
    pub fn private(mut self, name: impl Into<String>, token: impl Into<String>) -> Self {
        let access = self.access.entry(name.into()).or_default();
        let mut tokens: BTreeSet<String> = access.tokens().cloned().collect();
        tokens.insert(token.into());
        *access = Access::Private(tokens);
        self
    }

    /// A token of somebody who may have no more than everyone. Other tokens that nobody has are refused.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.tokens.insert(token.into());
        self
    }

    /// Files over this size are stored by LFS; 10 MiB if not said.
    pub fn lfs_over(mut self, bytes: u64) -> Self {
        self.lfs_over = Some(bytes);
        self
    }

    /// Entries of a page of a tree; 1000 if not said, or 50 with details.
    pub fn page_size(mut self, entries: usize) -> Self {
        self.page_size = Some(entries);
        self
    }

    /// Where the hub listens; a free port of 127.0.0.1 if not said. Blobs have a free port of the same address.
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Is called with each request when its answer is over.
    pub fn on_request(mut self, listener: impl Fn(&Request) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Reads the folders and serves them until the hub is dropped.
    pub fn start(mut self) -> Result<Hub, HubError> {
        for root in std::mem::take(&mut self.roots) {
            self.folders.extend(repositories(&root)?);
        }
        let lfs_over = self.lfs_over.unwrap_or(LFS_OVER);
        for access in self.access.values() {
            self.tokens.extend(access.tokens().cloned());
        }
        let mut repos = BTreeMap::new();
        for (name, folder) in self.folders {
            let parts: Vec<_> = name.split('/').collect();
            if parts.len() != 2 || parts.contains(&"") {
                return Err(HubError::Name(name));
            }
            let commit = Arc::new(Commit::read(&folder, lfs_over)?);
            let access = self.access.remove(&name).unwrap_or_default();
            repos.insert(name, Repo::new(access, commit));
        }
        if let Some((name, _)) = self.access.pop_first() {
            return Err(HubError::NoRepo(name));
        }
        let address = self.listen.unwrap_or((Ipv4Addr::LOCALHOST, 0).into());
        let (hub, url) = listen(address)?;
        let (blobs, blobs_url) = listen(SocketAddr::new(address.ip(), 0))?;
        let shared = Shared {
            url,
            blobs_url,
            page_size: self.page_size,
            lfs_over,
            tokens: self.tokens,
            faults: Faults::default(),
            log: Log::default(),
            repos: Mutex::new(repos),
            blobs: Mutex::new(HashMap::new()),
        };
        Hub::serve(shared, hub, blobs, self.listener)
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, String), HubError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        Ok((listener, url))
    };
    bind().map_err(HubError::Listen)
}

/// The folders two levels below a root, by their names.
fn repositories(root: &Path) -> Result<Vec<(String, PathBuf)>, HubError> {
    let mut found = Vec::new();
    for (org, path) in folders(root)? {
        for (name, path) in folders(&path)? {
            found.push((format!("{org}/{name}"), path));
        }
    }
    Ok(found)
}

fn folders(folder: &Path) -> Result<Vec<(String, PathBuf)>, HubError> {
    let failed = |source| HubError::Read {
        path: folder.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().is_dir() {
            let name = entry.file_name().into_string();
            found.push((
                name.map_err(|_| HubError::Unfit(entry.path()))?,
                entry.path(),
            ));
        }
    }
    Ok(found)
}
