//! The log of requests that tests read.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::faults::Place;
use crate::repos::lock;

/// A request and what was answered; a request whose answer is still going out is in the log too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub place: Place,
    pub method: String,
    /// With the query.
    pub path: String,
    /// The `Range` header.
    pub range: Option<String>,
    /// Whether a token was shown.
    pub has_token: bool,
    /// 0 until there is an answer.
    pub status: u16,
    /// The place in the content of the first byte of the answer.
    pub start: u64,
    /// Bytes of the body that were really given out, right or wrong.
    pub sent: u64,
    /// Whether no more bytes of the answer will be given out.
    pub is_over: bool,
}

impl fmt::Display for Request {
    /// One line for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.status, self.method, self.path)?;
        if let Some(range) = &self.range {
            write!(f, " {range}")?;
        }
        if self.has_token {
            f.write_str(" (with a token)")?;
        }
        write!(f, ": {} bytes", self.sent)
    }
}

/// A request in the log.
#[derive(Debug)]
pub(crate) struct Entry {
    request: Mutex<Request>,
    sent: AtomicU64,
    is_over: AtomicBool,
}

impl Entry {
    /// Notes what is being answered.
    pub fn answer(&self, status: u16, start: u64) {
        let mut request = lock(&self.request);
        (request.status, request.start) = (status, start);
    }

    pub fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes that nothing more is given out.
    pub fn end(&self) -> Request {
        self.is_over.store(true, Ordering::Release);
        self.read()
    }

    fn read(&self) -> Request {
        let mut request = lock(&self.request).clone();
        request.is_over = self.is_over.load(Ordering::Acquire);
        request.sent = self.sent.load(Ordering::Relaxed);
        request
    }
}

#[derive(Debug, Default)]
pub(crate) struct Log(Mutex<Vec<Arc<Entry>>>);

impl Log {
    pub fn begin(&self, request: Request) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            request: Mutex::new(request),
            sent: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        });
        lock(&self.0).push(Arc::clone(&entry));
        entry
    }

    pub fn read(&self) -> Vec<Request> {
        lock(&self.0).iter().map(|entry| entry.read()).collect()
    }

    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}

/// Bytes of blobs that were given out though they had been given out before.
pub(crate) fn twice(requests: &[Request]) -> u64 {
    let mut ranges: BTreeMap<&str, Vec<Range<u64>>> = BTreeMap::new();
    let blobs = requests.iter().filter(|r| r.place == Place::Blobs);
    for request in blobs.filter(|r| matches!(r.status, 200 | 206)) {
        let range = request.start..request.start + request.sent;
        ranges.entry(&request.path).or_default().push(range);
    }
    ranges.into_values().map(overlap).sum()
}

/// The lengths of ranges less the length of what they cover together.
fn overlap(mut ranges: Vec<Range<u64>>) -> u64 {
    ranges.sort_by_key(|range| range.start);
    let (mut twice, mut covered) = (0, 0);
    for range in ranges {
        twice += range.end.min(covered).saturating_sub(range.start);
        covered = covered.max(range.end);
    }
    twice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_out_again_is_counted() {
        assert_eq!(overlap(vec![0..10, 10..20]), 0);
        assert_eq!(overlap(vec![10..20, 0..12]), 2);
        assert_eq!(overlap(vec![0..10, 0..10, 2..4]), 12);
    }
}
