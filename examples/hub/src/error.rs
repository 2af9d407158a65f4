//! Why a hub does not start or does not take a folder.

use std::io;
use std::path::PathBuf;

/// What is wrong with a hub's folders or its address.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A file or folder cannot be read.
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Neither a file nor a folder, or a name that is not UTF-8.
    #[error("{} is not a file or folder with a name in UTF-8; a repository has nothing else", .0.display())]
    Unfit(PathBuf),
    /// A repository's name is not of the form `org/name`.
    #[error("`{0}` is not a repository's name: it looks like org/name")]
    Name(String),
    /// The hub has no such repository.
    #[error("the hub has no repository {0}")]
    NoRepo(String),
    /// The server cannot listen.
    #[error("cannot listen")]
    Listen(#[source] io::Error),
}
