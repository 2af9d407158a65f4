//! Events of one task, as they travel.

use std::fmt;

use bytes::Bytes;

const FRAME_END: &[u8] = b"\n\n";

/// One or more whole SSE frames with consecutive ids.
#[derive(Clone, PartialEq, Eq)]
pub struct Events {
    first: u64,
    count: u64,
    bytes: Bytes,
    tokens: u64,
}

/// Without the answer.
impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Events({}..{})", self.first, self.next())
    }
}

impl Events {
    /// Frames as [`pool_core::serving::Frame`] writes them, the first with the id `first`. `None` for bytes that are
    /// no whole frames.
    pub fn new(first: u64, bytes: impl Into<Bytes>) -> Option<Self> {
        let bytes = bytes.into();
        let count = ends(&bytes).count() as u64;
        let is_whole = bytes.ends_with(FRAME_END);
        is_whole.then_some(Self {
            first,
            count,
            bytes,
            tokens: 0,
        })
    }

    /// So many tokens are among them.
    #[must_use]
    pub fn with_tokens(self, tokens: u64) -> Self {
        Self { tokens, ..self }
    }

    /// What was stored.
    pub(super) fn stored(first: u64, count: u64, bytes: Vec<u8>) -> Self {
        Self {
            first,
            count,
            bytes: bytes.into(),
            tokens: 0,
        }
    }

    /// The id of the first.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The id after the last.
    pub fn next(&self) -> u64 {
        self.first + self.count
    }

    /// Tokens that are among them, as [`Self::with_tokens`] said.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Those from the id `from` on.
    pub(super) fn from(&self, from: u64) -> Bytes {
        let skipped = from.saturating_sub(self.first) as usize;
        let start = match skipped {
            0 => 0,
            _ => ends(&self.bytes)
                .nth(skipped - 1)
                .unwrap_or(self.bytes.len()),
        };
        self.bytes.slice(start..)
    }

    /// The last frame.
    pub(super) fn last(&self) -> Bytes {
        self.from(self.next().saturating_sub(1))
    }
}

/// Where each frame ends.
fn ends(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes
        .windows(FRAME_END.len())
        .enumerate()
        .filter(|&(_, pair)| pair == FRAME_END)
        .map(|(at, _)| at + FRAME_END.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_and_cut_at_their_blank_lines() {
        let events = Events::new(4, "id: 4\n\nid: 5\n\nid: 6\n\n").unwrap();
        assert_eq!((events.first(), events.next()), (4, 7));
        assert_eq!(events.from(0), "id: 4\n\nid: 5\n\nid: 6\n\n");
        assert_eq!(events.from(5), "id: 5\n\nid: 6\n\n");
        assert_eq!(events.last(), "id: 6\n\n");
        assert_eq!(events.from(7), "");
        assert_eq!(Events::new(0, "id: 0\n"), None);
        assert_eq!(Events::new(0, ""), None);
    }

    #[test]
    fn what_a_task_says_is_not_in_the_debug_text() {
        let events = Events::new(0, "data: secret\n\n").unwrap();
        assert!(!format!("{events:?}").contains("secret"));
    }
}
