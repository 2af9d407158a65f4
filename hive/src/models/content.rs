//! Content by its SHA-256: each once, and under its name only after it was found right.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pool_core::digest::{Hasher, Sha256};
use pool_core::model::ModelFile;
use pool_core::rpc::{ErrorCode, HiveError};
use rustix::fs::{FlockOperation, flock};

use super::catalog;
use crate::error::{Result, disk_full, fail, io_error};
use crate::file::sync_folder;
use crate::home::Home;
use crate::machine;

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
    Err(wrong_content(file.path.as_str(), &file.sha256, &found))
}

fn wrong_content(what: &str, expected: &Sha256, found: &Sha256) -> HiveError {
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

/// Content on its way. What came is kept when the way breaks, and taken up from there.
#[derive(Debug)]
pub struct Incoming {
    home: Home,
    sha256: Sha256,
    size: u64,
    offset: u64,
    path: PathBuf,
    /// None when the content is there already.
    part: Option<(File, Hasher)>,
}

impl Incoming {
    /// Opens the place of a content that the catalog names. None while somebody else brings it.
    pub fn begin(home: &Home, sha256: Sha256, size: u64) -> Result<Option<Self>> {
        let catalog = catalog::load(home)?;
        let mut files = catalog.models.values().flat_map(|entry| &entry.files);
        if !files.any(|file| file.file.sha256 == sha256 && file.file.size == size) {
            return Err(fail(
                ErrorCode::NotFound,
                format!(
                    "no model of the catalog has content with {size} bytes and sha256 {sha256}"
                ),
                "register the model first",
            ));
        }
        let path = home.incoming().join(sha256.to_string());
        let mut incoming = Self {
            home: home.clone(),
            sha256,
            size,
            offset: size,
            path,
            part: None,
        };
        if has(home, &sha256, size) {
            return Ok(Some(incoming));
        }
        let Some(file) = claim(&incoming.path).map_err(|e| io_error("open", &incoming.path, &e))?
        else {
            return Ok(None);
        };
        // Between the look and the claim, the one who brought it may have finished.
        if has(home, &sha256, size) {
            let _ = std::fs::remove_file(&incoming.path);
            return Ok(Some(incoming));
        }
        incoming.take_up(file)?;
        Ok(Some(incoming))
    }

    fn take_up(&mut self, mut file: File) -> Result<()> {
        let failed = |e: io::Error| io_error("read", &self.path, &e);
        if file.metadata().map_err(failed)?.len() > self.size {
            file.set_len(0).map_err(failed)?;
        }
        let mut hasher = Hasher::default();
        let mut offset = 0;
        pour(&mut file, |bytes| {
            hasher.update(bytes);
            offset += bytes.len() as u64;
        })
        .map_err(failed)?;
        let needed = self.size - offset;
        if machine::disk_free(&self.path).is_some_and(|free| free < needed) {
            return Err(disk_full(self.home.root(), Some(needed)));
        }
        self.offset = offset;
        self.part = Some((file, hasher));
        Ok(())
    }

    /// Bytes that are here already.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some((file, hasher)) = &mut self.part {
            file.write_all(bytes)
                .map_err(|e| io_error("write", &self.path, &e))?;
            hasher.update(bytes);
            self.offset += bytes.len() as u64;
        }
        Ok(())
    }

    /// Publishes the content under its name; wrong content is dropped.
    pub fn finish(self) -> Result<()> {
        let Some((file, hasher)) = self.part else {
            return Ok(());
        };
        let found = hasher.finish();
        if found != self.sha256 {
            std::fs::remove_file(&self.path).map_err(|e| io_error("remove", &self.path, &e))?;
            return Err(wrong_content("what was sent", &self.sha256, &found));
        }
        file.sync_all()
            .map_err(|e| io_error("write", &self.path, &e))?;
        let home = self.home.lock()?;
        let blob = home.blob(&self.sha256);
        std::fs::rename(&self.path, &blob)
            .and_then(|()| file.set_permissions(Permissions::from_mode(0o400)))
            .and_then(|()| sync_folder(&home.blobs()))
            .map_err(|e| io_error("write", &blob, &e))?;
        catalog::mark_verified(&home, &self.sha256)
    }
}

/// Opens the file for whoever comes first; none while another process or call has it.
pub fn claim(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .read(true)
        .append(true)
        .mode(0o600)
        .open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    // It may have been renamed or removed between open and lock.
    let is_named = std::fs::metadata(path).is_ok_and(|named| {
        file.metadata()
            .is_ok_and(|claimed| (claimed.dev(), claimed.ino()) == (named.dev(), named.ino()))
    });
    Ok(is_named.then_some(file))
}
