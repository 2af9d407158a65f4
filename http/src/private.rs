//! Files that only their owner may read.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Why a file with secrets is not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    #[error("cannot read {path}")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("others than its owner may read {path} (its mode is {mode:o})")]
    Open { path: PathBuf, mode: u32 },
}

impl PrivateError {
    /// What a person can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Unreadable { .. } => "check its path and who may read it".to_owned(),
            Self::Open { path, .. } => format!("chmod 600 {}", path.display()),
        }
    }

    /// There is no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// The text of a file that its owner alone may read and write.
pub fn read(path: &Path) -> Result<String, PrivateError> {
    let unreadable = |source| PrivateError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let file = pool_core::folder::open(path).map_err(unreadable)?;
    // Of the file that is open, so that no other takes its place in between.
    let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.to_owned();
        return Err(PrivateError::Open { path, mode });
    }
    std::io::read_to_string(file).map_err(unreadable)
}
