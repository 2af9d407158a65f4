//! One request for an answer.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::task::Context;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::task::AtomicWaker;
use serde_json::Value;

use crate::generate::Asked;
use crate::seen::{Outcome, SeenJob};

#[derive(Debug)]
pub(crate) struct Job {
    pub id: String,
    path: &'static str,
    correlation_id: String,
    traceparent: Option<String>,
    request: Bytes,
    asked_at: u64,
    tokens: AtomicU64,
    is_cancelled: AtomicBool,
    /// 0 for never.
    cancelled_at: AtomicU64,
    waker: AtomicWaker,
    end: Mutex<(Outcome, Option<u64>)>,
}

/// Microseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as u64)
}

impl Job {
    pub fn new(id: String, asked: &Asked) -> Self {
        Self {
            id,
            path: asked.path,
            correlation_id: asked.correlation_id.clone(),
            traceparent: asked.traceparent.clone(),
            request: asked.body.clone(),
            asked_at: now(),
            tokens: AtomicU64::new(0),
            is_cancelled: AtomicBool::new(false),
            cancelled_at: AtomicU64::new(0),
            waker: AtomicWaker::new(),
            end: Mutex::new((Outcome::Open, None)),
        }
    }

    pub fn cancel(&self) {
        if !self.is_cancelled.swap(true, Ordering::AcqRel) {
            self.cancelled_at.store(now(), Ordering::Release);
            self.waker.wake();
        }
    }

    /// Whether it was cancelled; if not, its task is woken when it is.
    pub fn poll_cancelled(&self, cx: &Context) -> bool {
        self.waker.register(cx.waker());
        self.is_cancelled.load(Ordering::Acquire)
    }

    pub fn sent(&self, tokens: u64) {
        self.tokens.store(tokens, Ordering::Relaxed);
    }

    /// The first end is the one that counts.
    pub fn end(&self, outcome: Outcome) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if end.0 == Outcome::Open {
            *end = (outcome, Some(now()));
        }
    }

    pub fn seen(&self) -> SeenJob {
        let (outcome, ended_at) = *self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let cancelled_at = self.cancelled_at.load(Ordering::Acquire);
        SeenJob {
            job_id: self.id.clone(),
            path: self.path.to_owned(),
            correlation_id: self.correlation_id.clone(),
            traceparent: self.traceparent.clone(),
            request: serde_json::from_slice(&self.request).unwrap_or(Value::Null),
            asked_at: self.asked_at,
            tokens: self.tokens.load(Ordering::Relaxed),
            cancelled_at: (cancelled_at > 0).then_some(cancelled_at),
            outcome,
            ended_at,
        }
    }
}
