//! Content by its SHA-256: each once, and under its name only after it was found right.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;

use pool_core::digest::{Hasher, Sha256};
use pool_core::model::{CatalogFile, ModelFile, Stamp};
use pool_core::rpc::{ErrorCode, HiveError};

use crate::error::{Result, fail, io_error};
use crate::home::Home;

/// Of these files, those whose content the pool does not have, each content once.
pub fn missing(home: &Home, files: &[&ModelFile]) -> Vec<ModelFile> {
    let mut seen = BTreeSet::new();
    files
        .iter()
        .filter(|file| !has(home, &file.sha256, file.size) && seen.insert(file.sha256))
        .map(|&file| file.clone())
        .collect()
}

/// Whether content is there, by its size.
pub fn has(home: &Home, sha256: &Sha256, size: u64) -> bool {
    let blob = home.blob(sha256).metadata();
    blob.is_ok_and(|blob| blob.is_file() && blob.len() == size)
}

/// Which file on the disk a content is, as it is now.
pub fn stamp(home: &Home, sha256: &Sha256) -> Option<Stamp> {
    home.blob(sha256).metadata().ok().as_ref().map(stamp_of)
}

fn stamp_of(metadata: &Metadata) -> Stamp {
    let nanoseconds =
        |seconds: i64, rest: i64| seconds.saturating_mul(1_000_000_000).saturating_add(rest);
    Stamp {
        inode: metadata.ino(),
        modified_ns: nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
        changed_ns: nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
    }
}

/// Whether the content of a file was written to or replaced since it was checked.
pub fn is_touched(home: &Home, file: &CatalogFile) -> bool {
    file.verified
        .is_some_and(|verified| stamp(home, &file.file.sha256).is_some_and(|now| now != verified))
}

/// Finds the content of a file right, or says what is wrong; wrong content is taken away.
pub fn check(home: &Home, file: &ModelFile, read: bool) -> Result<()> {
    let path = home.blob(&file.sha256);
    if !has(home, &file.sha256, file.size) {
        return Err(fail(
            ErrorCode::NotFound,
            format!(
                "the content of {} is not here: {}",
                file.path,
                path.display()
            ),
            "bring it first: `rbee apply`, or `models register` from its folder",
        ));
    }
    if !read {
        return Ok(());
    }
    let mut hasher = Hasher::default();
    File::open(&path)
        .and_then(|mut blob| pour(&mut blob, |bytes| hasher.update(bytes)))
        .map_err(|e| io_error("read", &path, &e))?;
    let found = hasher.finish();
    if found == file.sha256 {
        return Ok(());
    }
    std::fs::remove_file(&path).map_err(|e| io_error("remove", &path, &e))?;
    Err(wrong(file.path.as_str(), &file.sha256, &found))
}

pub(super) fn wrong(what: &str, expected: &Sha256, found: &Sha256) -> HiveError {
    fail(
        ErrorCode::WrongContent,
        format!("the content of {what} has the sha256 {found}, not {expected}"),
        "it was taken away; bring it again, and if that repeats check the disk and the source",
    )
}

/// Reads to the end in pieces.
pub fn pour(from: &mut impl io::Read, mut to: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            n => to(&buffer[..n]),
        }
    }
}
