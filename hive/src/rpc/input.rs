//! What comes in over a connection.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};
use tokio::time::timeout;

/// Most bytes of a line.
pub const LONGEST: usize = 16 << 20;

/// Bytes from the operator's side, which ends with the operator.
#[derive(Debug)]
pub struct Input<R> {
    inner: R,
    /// After how long of hearing nothing a watched operator is gone.
    silence: Duration,
    is_watched: bool,
}

/// What a line came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Whole(Vec<u8>),
    /// Longer than [`LONGEST`]; all of it was passed over.
    TooLong,
}

impl<R: AsyncBufRead + Unpin> Input<R> {
    pub fn new(inner: R, silence: Duration) -> Self {
        Self {
            inner,
            silence,
            is_watched: false,
        }
    }

    /// From now on the input ends, too, when nothing is heard for too long.
    pub fn watch(&mut self) {
        self.is_watched = true;
    }

    /// The bytes that came, of which some may be consumed; none at the end.
    pub async fn fill(&mut self) -> io::Result<&[u8]> {
        let heard = self.inner.fill_buf();
        if self.is_watched {
            // Counted from here on: how long this side looked elsewhere is not the other's silence.
            timeout(self.silence, heard).await.unwrap_or(Ok(&[]))
        } else {
            heard.await
        }
    }

    pub fn consume(&mut self, bytes: usize) {
        self.inner.consume(bytes);
    }

    /// The next line with its end. What the end of the input cuts is no line.
    pub async fn line(&mut self) -> io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut is_too_long = false;
        loop {
            let bytes = self.fill().await?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let length = end.map_or(bytes.len(), |end| end + 1);
            if line.len() + length > LONGEST {
                is_too_long = true;
                line = Vec::new();
            }
            if !is_too_long {
                line.extend_from_slice(&bytes[..length]);
            }
            self.consume(length);
            if end.is_some() {
                return Ok(Some(if is_too_long {
                    Line::TooLong
                } else {
                    Line::Whole(line)
                }));
            }
        }
    }
}
