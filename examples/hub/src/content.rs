//! The content of a file, in memory or on the disk.

use std::io::{self, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use axum::body::{Body, Bytes};
use futures::stream;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

/// Files up to this size are kept in memory.
const KEPT: u64 = 1 << 20;

/// Bytes that are read and sent at once.
const PIECE: usize = 256 * 1024;

#[derive(Debug, Clone)]
pub(crate) enum Content {
    Memory(Bytes),
    /// Read when it is asked for, if it is still the file that was pushed.
    Disk {
        path: PathBuf,
        size: u64,
        modified: SystemTime,
    },
}

impl Content {
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = path.metadata()?;
        if metadata.len() <= KEPT {
            return Ok(Self::Memory(std::fs::read(path)?.into()));
        }
        Ok(Self::Disk {
            path: path.to_owned(),
            size: metadata.len(),
            modified: metadata.modified()?,
        })
    }

    pub fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::Disk { size, .. } => *size,
        }
    }

    pub fn reader(&self) -> io::Result<Box<dyn io::Read + '_>> {
        Ok(match self {
            Self::Memory(bytes) => Box::new(&bytes[..]),
            Self::Disk { path, .. } => Box::new(std::fs::File::open(path)?),
        })
    }

    /// A body with the bytes of a range that lies within the content.
    pub async fn body(&self, range: Range<u64>) -> io::Result<Body> {
        let (path, size, modified) = match self {
            Self::Memory(bytes) => {
                let range = range.start as usize..range.end as usize;
                return Ok(bytes.slice(range).into());
            }
            Self::Disk {
                path,
                size,
                modified,
            } => (path, *size, *modified),
        };
        let mut file = File::open(path).await?;
        let metadata = file.metadata().await?;
        if metadata.len() != size || metadata.modified()? != modified {
            return Err(io::Error::other("the file changed since it was pushed"));
        }
        file.set_max_buf_size(PIECE);
        file.seek(SeekFrom::Start(range.start)).await?;
        let left = range.end - range.start;
        Ok(Body::from_stream(stream::try_unfold((file, left), piece)))
    }
}

async fn piece((mut file, left): (File, u64)) -> io::Result<Option<(Bytes, (File, u64))>> {
    if left == 0 {
        return Ok(None);
    }
    let mut piece = vec![0; left.min(PIECE as u64) as usize];
    let n = file.read(&mut piece).await?;
    if n == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    piece.truncate(n);
    Ok(Some((Bytes::from(piece), (file, left - n as u64))))
}
