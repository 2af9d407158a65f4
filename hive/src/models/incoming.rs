//! Content on its way: claimed by whoever brings it, and taken up again when the way breaks.
//!
//! `models/incoming/<sha256>` holds what came. Without a file `<sha256>.parts` beside it that is the beginning of the
//! content; with one, the parts that its lines name.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use pool_core::digest::{Hasher, Sha256};
use pool_core::rpc::{ErrorCode, HiveError};
use rustix::fs::{FlockOperation, flock};

use super::ranges::Ranges;
use super::{catalog, content, parts};
use crate::error::{Result, disk_full, fail, io_error};
use crate::file::sync_folder;
use crate::home::Home;
use crate::machine;

/// Who may bring a content.
#[derive(Debug)]
pub enum Place {
    /// Nobody: it is here.
    Here,
    /// Another process or call, which does so now.
    Taken,
    Ours(Claim),
}

/// The right to bring a content. It dies with its holder.
#[derive(Debug)]
pub struct Claim {
    pub(super) home: Home,
    pub(super) sha256: Sha256,
    pub(super) size: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// What came already.
    pub(super) known: Ranges,
}

impl Claim {
    /// Claims a content that the catalog names.
    pub fn take(home: &Home, sha256: Sha256, size: u64) -> Result<Place> {
        if catalog::names(home, &sha256, size)? {
            Self::take_named(home, sha256, size)
        } else {
            Err(not_named(&sha256, size))
        }
    }

    /// Claims a content of which is known that the catalog named it a while ago.
    pub fn take_named(home: &Home, sha256: Sha256, size: u64) -> Result<Place> {
        if content::has(home, &sha256, size) {
            return Ok(Place::Here);
        }
        let path = home.incoming().join(sha256.to_string());
        let Some(file) = claim(&path).map_err(|e| io_error("open", &path, &e))? else {
            return Ok(Place::Taken);
        };
        // Between the look and the claim, the one who brought it may have finished.
        if content::has(home, &sha256, size) {
            remove(&path).map_err(|e| io_error("remove", &path, &e))?;
            return Ok(Place::Here);
        }
        let known = known(&file, &path, size).map_err(|e| io_error("read", &path, &e))?;
        Ok(Place::Ours(Self {
            home: home.clone(),
            sha256,
            size,
            path,
            file,
            known,
        }))
    }

    /// Bytes that came already.
    pub fn here(&self) -> u64 {
        self.known.len()
    }

    /// Puts the content under its name when `found` is its digest, and the catalog still names it; else it is dropped.
    pub(super) fn publish(&self, found: Sha256) -> Result<()> {
        if found != self.sha256 {
            remove(&self.path).map_err(|e| io_error("remove", &self.path, &e))?;
            return Err(content::wrong("what came", &self.sha256, &found));
        }
        self.file
            .sync_all()
            .map_err(|e| io_error("write", &self.path, &e))?;
        let home = self.home.lock()?;
        if !catalog::names(&home, &self.sha256, self.size)? {
            remove(&self.path).map_err(|e| io_error("remove", &self.path, &e))?;
            return Err(not_named(&self.sha256, self.size));
        }
        let blob = home.blob(&self.sha256);
        std::fs::rename(&self.path, &blob)
            .and_then(|()| remove(&self.path))
            .and_then(|()| self.file.set_permissions(Permissions::from_mode(0o400)))
            .and_then(|()| sync_folder(&home.blobs()))
            .map_err(|e| io_error("write", &blob, &e))
    }
}

fn not_named(sha256: &Sha256, size: u64) -> HiveError {
    fail(
        ErrorCode::NotFound,
        format!("no model of the catalog has content with {size} bytes and sha256 {sha256}"),
        "register the model first; was it removed meanwhile?",
    )
}

/// Bytes that came already, of each content that is on its way.
pub fn arrived(home: &Home) -> Result<BTreeMap<Sha256, u64>> {
    let folder = home.incoming();
    let look = || {
        let mut arrived = BTreeMap::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            let sha256 = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(sha256) = sha256 else { continue };
            // It may have become whole since the folder was read.
            let Ok(length) = entry.metadata().map(|metadata| metadata.len()) else {
                continue;
            };
            let here = parts::read(&entry.path(), length)?.map_or(length, |parts| parts.len());
            if here > 0 {
                arrived.insert(sha256, here);
            }
        }
        Ok::<_, io::Error>(arrived)
    };
    match look() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        looked => looked.map_err(|e| io_error("read", &folder, &e)),
    }
}

/// What is there of a content.
fn known(file: &File, path: &Path, size: u64) -> io::Result<Ranges> {
    let length = file.metadata()?.len();
    if let Some(parts) = parts::read(path, length.min(size))? {
        return Ok(parts);
    }
    let mut known = Ranges::default();
    if length > size {
        file.set_len(0)?;
    } else {
        known.insert(0..length);
    }
    Ok(known)
}

/// Removes what came of a content, or what is left of it.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for path in [path, &parts::beside(path)] {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

/// A content that comes from its beginning to its end.
#[derive(Debug)]
pub struct Incoming {
    claim: Claim,
    hasher: Hasher,
    offset: u64,
}

impl Incoming {
    /// Takes up what came already from the beginning on.
    pub fn take_up(mut claim: Claim) -> Result<Self> {
        let offset = claim.known.prefix();
        let needed = claim.size - offset;
        if machine::disk_free(&claim.path).is_some_and(|free| free < needed) {
            return Err(disk_full(claim.home.root(), Some(needed)));
        }
        let mut hasher = Hasher::default();
        let file = &mut claim.file;
        let read = || {
            file.set_len(offset)?;
            // From here on the length alone says what came.
            match std::fs::remove_file(parts::beside(&claim.path)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            file.seek(SeekFrom::Start(0))?;
            content::pour(file, |bytes| hasher.update(bytes))
        };
        let mut read = read;
        read().map_err(|e| io_error("read", &claim.path, &e))?;
        Ok(Self {
            claim,
            hasher,
            offset,
        })
    }

    /// Bytes that are here already.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Appends the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.claim
            .file
            .write_all(bytes)
            .map_err(|e| io_error("write", &self.claim.path, &e))?;
        self.hasher.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Publishes the content under its name; wrong content is dropped.
    pub fn finish(self) -> Result<()> {
        self.claim.publish(self.hasher.finish())?;
        catalog::mark_verified(&self.claim.home.lock()?, &[self.claim.sha256])
    }
}

/// Opens the file for whoever comes first; none while another process or call has it.
pub fn claim(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
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
