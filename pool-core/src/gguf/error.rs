//! Why a GGUF file cannot be used.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong with a file, and where in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is damaged: {place}: {reason}", path.display())]
    Damaged {
        path: PathBuf,
        /// The byte, key or tensor.
        place: String,
        reason: String,
    },
    #[error("{} asks for {what}, which is not supported; supported: {supported}", path.display())]
    Unsupported {
        path: PathBuf,
        what: String,
        supported: &'static str,
    },
    #[error("{} has no {what}", path.display())]
    Missing { path: PathBuf, what: String },
}

impl Error {
    pub fn unreadable(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self::Unreadable { path, source }
    }

    pub fn damaged(path: &Path, place: impl ToString, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            place: place.to_string(),
            reason: reason.to_string(),
        }
    }

    pub fn unsupported(path: &Path, what: impl ToString, supported: &'static str) -> Self {
        Self::Unsupported {
            path: path.to_owned(),
            what: what.to_string(),
            supported,
        }
    }

    pub fn missing(path: &Path, what: impl ToString) -> Self {
        Self::Missing {
            path: path.to_owned(),
            what: what.to_string(),
        }
    }
}
