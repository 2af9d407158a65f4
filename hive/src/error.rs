//! How every failure is said: what and where, of which kind, and what to do about it.

use std::io;
use std::path::Path;

use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::units::bytes;

use crate::machine;

/// The outcome of everything here that can fail; the error travels to the operator as it is.
pub type Result<T> = std::result::Result<T, HiveError>;

/// An error with its way out.
pub fn fail(code: ErrorCode, message: impl Into<String>, help: impl Into<String>) -> HiveError {
    HiveError {
        code,
        message: message.into(),
        help: Some(help.into()),
    }
}

/// What the system refused to do with a path; a full disk is told apart.
pub fn io_error(action: &str, path: &Path, error: &io::Error) -> HiveError {
    if matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    ) {
        return disk_full(path, None);
    }
    HiveError {
        code: ErrorCode::Io,
        message: format!("cannot {action} {}: {error}", path.display()),
        help: None,
    }
}

/// The disk does not hold what has to be written, of which the amount may be known.
pub fn disk_full(path: &Path, needed: Option<u64>) -> HiveError {
    let free = machine::disk_free(path).unwrap_or_default();
    let amount = match needed {
        Some(needed) => format!("{} needed, {} free", bytes(needed), bytes(free)),
        None => format!("{} free", bytes(free)),
    };
    fail(
        ErrorCode::DiskFull,
        format!("the disk of {} is full: {amount}", path.display()),
        "free some space on it, or let RBEE_HOME name a folder on a larger disk",
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_full_disk_is_not_just_any_refusal() {
        let path = Path::new("/dev/full");
        if !path.exists() {
            return;
        }
        let mut full = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        let refused = full.write_all(b"x").unwrap_err();
        let error = io_error("write", path, &refused);
        assert_eq!(error.code, ErrorCode::DiskFull);
        assert!(error.message.ends_with("free"), "{error}");
        assert_eq!(disk_full(path, Some(2_000_000)).code, ErrorCode::DiskFull);
    }
}
