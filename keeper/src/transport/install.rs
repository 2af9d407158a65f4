//! Sends a bundle to a pool.

use std::io;

use pool_core::build::SUMS;
use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::bundle::Bundle;
use super::connection::Connection;
use super::error::ConnectError;
use super::process::{Ended, Exit, Process};
use super::{lines, script};

/// A bundle that could not be installed. What was installed before is still there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("cannot install rbee on pool `{pool}`: {kind}: {cause}")]
    Failed {
        pool: PoolName,
        kind: InstallErrorKind,
        cause: String,
    },
}

/// What stood in the way of an installation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstallErrorKind {
    #[error("its disk is full")]
    DiskFull,
    #[error("no permission")]
    Denied,
    #[error("what arrived is not what was sent")]
    WrongContent,
    #[error("a file could not be read here")]
    Source,
    #[error("failed")]
    Other,
}

impl InstallError {
    /// What to do about it.
    pub fn help(&self) -> &str {
        match self {
            Self::Connect(error) => &error.help,
            Self::Failed { kind, .. } => match kind {
                InstallErrorKind::DiskFull => {
                    "make room on the pool, or set RBEE_HOME there to a larger disk"
                }
                InstallErrorKind::Denied => {
                    "the user that logs in must own rbee's home on the pool; RBEE_HOME there names another"
                }
                InstallErrorKind::WrongContent => {
                    "run it again; if it stays, suspect the pool's disk"
                }
                InstallErrorKind::Source => "was the build replaced meanwhile? run it again",
                InstallErrorKind::Other => "the pool needs tar and sha256sum or shasum",
            },
        }
    }
}

impl Connection {
    /// Makes `bundle` the installed one. Running workers keep the build that they were started from.
    /// `on_progress` hears how many of the bundle's bytes were sent.
    pub async fn install(
        &self,
        bundle: &Bundle,
        on_progress: impl FnMut(u64) + Send,
    ) -> Result<(), InstallError> {
        let Process {
            mut stdin,
            mut stdout,
            running,
        } = self.run(&script::install()).await?;
        let writer = async {
            let sent = send(bundle, &mut stdin, on_progress).await;
            drop(stdin);
            sent
        };
        let reader = lines::after(script::INSTALLED, &mut stdout);
        let (sent, result) = tokio::join!(writer, reader);
        let ended = running.ended().await;
        match (sent, result.as_deref()) {
            (Err(cause), _) => Err(self.failed(InstallErrorKind::Source, cause)),
            (Ok(()), None) => Err(self.no_script(&ended).into()),
            (Ok(()), Some(result)) => self.judge(bundle.digest, result, ended),
        }
    }

    fn judge(&self, digest: Sha256, result: &str, ended: Ended) -> Result<(), InstallError> {
        if result == format!("ok {digest}") {
            return Ok(());
        }
        let cause = ended.stderr;
        let said = |text| cause.contains(text);
        // GNU tar and busybox call a full disk by its symptom when a part of a write still fitted.
        let full = [
            "No space left",
            "quota exceeded",
            "Wrote only",
            "short write",
        ];
        let kind = if full.into_iter().any(said) {
            InstallErrorKind::DiskFull
        } else if said("Permission denied") || said("Read-only file system") {
            InstallErrorKind::Denied
        } else if result == "sums" || result.starts_with("ok ") {
            InstallErrorKind::WrongContent
        } else if let Exit::Lost(_) = ended.exit {
            let ended = Ended {
                stderr: cause,
                ..ended
            };
            return Err(self.no_script(&ended).into());
        } else {
            InstallErrorKind::Other
        };
        Err(self.failed(kind, cause))
    }

    fn failed(&self, kind: InstallErrorKind, cause: String) -> InstallError {
        let pool = self.pool.clone();
        InstallError::Failed { pool, kind, cause }
    }
}

/// Writes the bundle as a tar stream. Fails only when a file here cannot be read: where the pool
/// stops reading, it says why by itself.
async fn send(
    bundle: &Bundle,
    to: &mut (impl AsyncWrite + Unpin),
    mut on_progress: impl FnMut(u64) + Send,
) -> Result<(), String> {
    const BLOCK: u64 = 512;
    let padding = |size: u64| vec![0; (size.next_multiple_of(BLOCK) - size) as usize];
    let sums = bundle.sums();
    let mut head = tar_header(SUMS, 0o644, sums.len() as u64).to_vec();
    head.extend(sums.as_bytes());
    head.extend(padding(sums.len() as u64));
    let mut gone = to.write_all(&head).await.is_err();

    let mut sent = 0;
    let mut buffer = vec![0; 256 << 10];
    for file in &bundle.files {
        let unreadable = |error: io::Error| format!("{}: {error}", file.path.display());
        let content = File::open(&file.path).await.map_err(unreadable)?;
        let mut content = content.take(file.size);
        gone = gone
            || to
                .write_all(&tar_header(file.name, 0o755, file.size))
                .await
                .is_err();
        let mut left = file.size;
        while left > 0 && !gone {
            let count = content.read(&mut buffer).await.map_err(unreadable)?;
            if count == 0 {
                return Err(unreadable(io::ErrorKind::UnexpectedEof.into()));
            }
            gone = to.write_all(&buffer[..count]).await.is_err();
            left -= count as u64;
            sent += count as u64;
            on_progress(sent);
        }
        gone = gone || to.write_all(&padding(file.size)).await.is_err();
    }
    // The end of an archive is two empty blocks.
    if !gone {
        to.write_all(&[0; 2 * BLOCK as usize]).await.ok();
    }
    Ok(())
}

/// A header block of the ustar format, as POSIX describes it under `pax`.
fn tar_header(name: &str, mode: u32, size: u64) -> [u8; 512] {
    let mut header = [0; 512];
    let mut put =
        |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, name);
    put(100, &format!("{mode:07o}"));
    put(108, "0000000"); // owner and group: whoever unpacks it
    put(116, "0000000");
    put(124, &format!("{size:011o}"));
    put(136, "00000000000"); // time
    put(148, "        "); // the checksum counts as blanks in itself
    put(156, "0"); // a plain file
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}
