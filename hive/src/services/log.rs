//! What services printed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Result, io_error};
use crate::home::Locked;

/// How many logs of services that are gone are kept.
const KEPT: usize = 10;

/// Opens the log for a service, which holds it as long as it lives: the lock goes with the descriptor.
pub fn open(path: &Path) -> Result<File> {
    let open = || {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(path)?;
        rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockShared))?;
        Ok(file)
    };
    open().map_err(|e: io::Error| io_error("open", path, &e))
}

/// Whether a process still holds the log that it was started with.
pub fn is_held(path: &Path) -> bool {
    let held = |file: File| flock(&file, FlockOperation::NonBlockingLockExclusive).is_err();
    OpenOptions::new().append(true).open(path).is_ok_and(held)
}

/// The last lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    const MOST: u64 = 16 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(MOST);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// What was printed, behind the message of a failure.
pub fn quoted(printed: &str) -> String {
    if printed.is_empty() {
        return "; it printed nothing".into();
    }
    let lines = printed.lines().map(|line| format!("\n  | {line}"));
    lines.collect()
}

/// Removes the oldest logs but these.
pub fn prune(home: &Locked, used: &[PathBuf]) -> Result<()> {
    let act = || -> io::Result<()> {
        let mut orphans: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in home.logs().read_dir()? {
            let entry = entry?;
            let path = entry.path();
            if !used.contains(&path) {
                orphans.push((entry.metadata()?.modified()?, path));
            }
        }
        orphans.sort();
        let surplus = orphans.len().saturating_sub(KEPT);
        for (_, path) in &orphans[..surplus] {
            std::fs::remove_file(path)?;
        }
        Ok(())
    };
    act().map_err(|e| io_error("clean up", &home.logs(), &e))
}

/// Reads a log piece by piece until its service is gone.
pub struct Follow {
    file: File,
    is_gone: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Follow {
    pub fn open(path: &Path, is_gone: Box<dyn Fn() -> bool + Send + Sync>) -> Result<Self> {
        let file = File::open(path).map_err(|e| io_error("read", path, &e))?;
        Ok(Self { file, is_gone })
    }

    /// The next piece, empty while there is nothing new; none when nothing can come any more.
    pub fn more(&mut self) -> io::Result<Option<Vec<u8>>> {
        const PIECE: u64 = 256 * 1024;
        // Looked at before reading: what a service printed last is there once it is gone.
        let is_gone = (self.is_gone)();
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(PIECE).read_to_end(&mut bytes)?;
        Ok((read > 0 || !is_gone).then_some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(tail(&path, 3), "");
        std::fs::write(&path, "a\nb\nc\nd\n").unwrap();
        assert_eq!(tail(&path, 3), "b\nc\nd");
        assert_eq!(tail(&path, 9), "a\nb\nc\nd");
    }
}
