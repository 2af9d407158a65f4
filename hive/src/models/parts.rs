//! A content that comes in several streams at once, each at its own place.
//!
//! `<sha256>.parts` notes what is here, a range on each line. `START END BOOT` was written, which the system remembers
//! until it is started anew; `START END` is on the disk, and true after a power cut too.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use pool_core::digest::{Hasher, Sha256};
use tokio::sync::watch;

use super::incoming::Claim;
use super::ranges::Ranges;
use crate::error::{Result, io_error};
use crate::process;

/// Bytes that are hashed at a time.
const PIECE: usize = 1 << 20;

/// The parts of a content that are here, and its place on the disk.
#[derive(Debug)]
pub struct Parts {
    claim: Claim,
    journal: Mutex<File>,
    /// The present start of the system, where it can be told.
    boot: Option<String>,
    written: Mutex<Ranges>,
    /// What lasts, whatever happens. Held by the one who adds to it.
    kept: Mutex<Ranges>,
    /// Bytes from the beginning on without a gap.
    prefix: watch::Sender<u64>,
}

impl Parts {
    pub fn open(claim: Claim) -> Result<Self> {
        let path = beside(&claim.path);
        let open = || {
            let is_new = !path.exists();
            let mut journal = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(&path)?;
            if is_new {
                // What came before in one stream.
                claim.file.sync_data()?;
                let known = 0..claim.known.prefix();
                journal.write_all(line(&known, None).as_bytes())?;
                journal.sync_data()?;
            }
            Ok(journal)
        };
        let journal = open().map_err(|e: io::Error| io_error("write", &path, &e))?;
        let written = claim.known.clone();
        Ok(Self {
            boot: process::boot_id(),
            prefix: watch::Sender::new(written.prefix()),
            written: Mutex::new(written),
            kept: Mutex::default(),
            journal: Mutex::new(journal),
            claim,
        })
    }

    /// What is still to come, in pieces that end at multiples of `piece`.
    pub fn gaps(&self, piece: u64) -> Vec<Range<u64>> {
        lock(&self.written).gaps(self.claim.size, piece)
    }

    /// Bytes that are here.
    pub fn here(&self) -> u64 {
        lock(&self.written).len()
    }

    pub fn write(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let range = at..at + bytes.len() as u64;
        let note = || {
            self.claim.file.write_all_at(bytes, at)?;
            match &self.boot {
                Some(boot) => lock(&self.journal).write_all(line(&range, Some(boot)).as_bytes()),
                None => Ok(()),
            }
        };
        note().map_err(|e: io::Error| io_error("write", &self.claim.path, &e))?;
        let mut written = lock(&self.written);
        written.insert(range);
        self.prefix.send_if_modified(|prefix| {
            let moved = written.prefix() != *prefix;
            *prefix = written.prefix();
            moved
        });
        Ok(())
    }

    /// Makes bytes that were written last, whatever happens from here on, and with them all that other streams wrote.
    pub fn keep(&self, range: &Range<u64>) -> Result<()> {
        let mut kept = lock(&self.kept);
        if kept.covers(range) {
            return Ok(());
        }
        let written = lock(&self.written).clone();
        let lines: String = written.iter().map(|range| line(&range, None)).collect();
        let keep = || {
            self.claim.file.sync_data()?;
            let mut journal = lock(&self.journal);
            journal.write_all(lines.as_bytes())?;
            journal.sync_data()
        };
        keep().map_err(|e| io_error("write", &self.claim.path, &e))?;
        *kept = written;
        Ok(())
    }

    /// Tells how far the content reaches from its beginning on.
    pub fn prefix(&self) -> watch::Receiver<u64> {
        self.prefix.subscribe()
    }

    /// Adds these bytes to the digest.
    pub fn hash(&self, hasher: &mut Hasher, range: Range<u64>) -> Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at).min(PIECE as u64) as usize;
            let bytes = &mut buffer[..length];
            let file = &self.claim.file;
            file.read_exact_at(bytes, at)
                .map_err(|e| io_error("read", &self.claim.path, &e))?;
            hasher.update(&*bytes);
            at += length as u64;
        }
        Ok(())
    }

    /// Publishes the content under its name; wrong content is dropped. The catalog is yet to be told.
    pub fn publish(&self, found: Sha256) -> Result<()> {
        self.claim.publish(found)
    }
}

/// Where the parts of a content are noted.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_extension("parts")
}

/// The noted parts of the first `length` bytes; none where none were ever noted.
pub(super) fn read(path: &Path, length: u64) -> io::Result<Option<Ranges>> {
    let text = match std::fs::read_to_string(beside(path)) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Torn by a power cut: nothing of it is believed.
        Err(e) if e.kind() == io::ErrorKind::InvalidData => return Ok(Some(Ranges::default())),
        Err(e) => return Err(e),
    };
    let mut parts = Ranges::default();
    let boot = process::boot_id();
    // What follows the last line end was not written to its end.
    for line in text
        .split_inclusive('\n')
        .filter_map(|line| line.strip_suffix('\n'))
    {
        if let Some(range) = range(line, boot.as_deref()) {
            parts.insert(range.start..range.end.min(length));
        }
    }
    Ok(Some(parts))
}

fn line(range: &Range<u64>, boot: Option<&str>) -> String {
    let boot = boot.map(|boot| format!(" {boot}")).unwrap_or_default();
    format!("{} {}{boot}\n", range.start, range.end)
}

/// What a line says, if that is still true.
fn range(line: &str, boot: Option<&str>) -> Option<Range<u64>> {
    let mut words = line.split(' ');
    let range = words.next()?.parse().ok()?..words.next()?.parse().ok()?;
    let holds = words.next().is_none_or(|its_boot| boot == Some(its_boot));
    holds.then_some(range)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_only_written_is_forgotten_with_the_start_of_the_system() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content");
        assert_eq!(read(&path, 100).unwrap(), None);
        let boot = process::boot_id().unwrap();
        let noted = |text: String| {
            std::fs::write(beside(&path), text).unwrap();
            read(&path, 100).unwrap().unwrap()
        };
        let mut both = Ranges::default();
        both.insert(0..10);
        both.insert(20..30);
        assert_eq!(noted(format!("0 10\n20 30 {boot}\n")), both);
        let mut kept = Ranges::default();
        kept.insert(0..10);
        assert_eq!(noted("0 10\n20 30 another\n".into()), kept);
        // Torn lines, and what the file is too short for.
        assert_eq!(noted("0 10\n10 2".into()), kept);
        assert_eq!(noted("0 10\nx\n\n".into()), kept);
        assert_eq!(noted("0 1000\n".into()).prefix(), 100);
    }
}
