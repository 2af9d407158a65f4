//! Lines from a pool, which may say anything.

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// What a login shell may print before our first line.
const NOISE: u64 = 1 << 20;

/// A line of the protocol; the longest is an observation.
const LINE: u64 = 64 << 20;

/// The next line that starts with `marker`, without it. None when the stream ends before, or a
/// mebibyte of other lines passed.
pub async fn after(marker: &str, from: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut from = from.take(NOISE);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line).await.ok()? > 0 {
        let text = String::from_utf8_lossy(&line);
        if let Some(rest) = text.strip_prefix(marker) {
            return text.ends_with('\n').then(|| rest.trim_end().to_owned());
        }
        line.clear();
    }
    None
}

/// The next line, with its end. None when there is none, or no end of it in sight.
pub async fn next(from: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LINE).read_until(b'\n', &mut line).await.ok()?;
    line.ends_with(b"\n").then_some(line)
}
