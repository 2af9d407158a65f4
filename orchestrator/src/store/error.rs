//! What a store can refuse.

use std::path::PathBuf;

/// Why the store could not do it. No prompt and no answer is ever part of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{0} is in use: another orchestratord has it open")]
    InUse(PathBuf),
    #[error("{path} was written by a newer version (format {found}, this one knows {known})")]
    Newer {
        path: PathBuf,
        found: i64,
        known: i64,
    },
    #[error("{path} is damaged or no store of orchestratord: {reason}")]
    Corrupt { path: PathBuf, reason: String },
    #[error("cannot open {path}: {reason}")]
    Unopened { path: PathBuf, reason: String },
    /// The disk has no room left, or the store is as large as its limits allow.
    #[error("the store is full")]
    Full,
    #[error("the store failed: {0}")]
    Failed(String),
    #[error("there is a task {0} already")]
    Duplicate(String),
    #[error("there is no task {0}")]
    Unknown(String),
    #[error("the task {0} has ended")]
    Ended(String),
    #[error("the task {id} has the event {expected} next, not {found}")]
    Gap {
        id: String,
        expected: u64,
        found: u64,
    },
    /// A body is longer than the store takes.
    #[error("the task {0} is too long to store")]
    TooLong(String),
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    /// What a person can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::InUse(_) => Some("stop the other one, or give each its own file".into()),
            Self::Newer { .. } => {
                Some("run the version that wrote it, or name another file".into())
            }
            Self::Corrupt { path, .. } => Some(format!(
                "move {} and the files beside it with -wal at the end away, or name another file",
                path.display()
            )),
            Self::Unopened { .. } => Some("check the folder and who may write to it".into()),
            Self::Full => Some("free some of the disk, or raise the store's limit".into()),
            _ => None,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::Full,
            _ => Self::Failed(error.to_string()),
        }
    }
}
