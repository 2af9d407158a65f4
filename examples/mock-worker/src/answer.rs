//! An answer on its way: a body that makes its next piece when the connection takes it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::Frame;
use pool_core::serving::{End, Failure, FailureCode, KEEP_ALIVE, StopReason, StreamEvent};
use tokio::sync::{AcquireError, OwnedSemaphorePermit};
use tokio::time::{Instant, Sleep};

use crate::frames::Frames;
use crate::seen::Outcome;
use crate::shared::Turn;

/// The body of any answer.
pub(crate) enum Body {
    Whole(Full<Bytes>),
    /// A document that breaks off.
    Broken(Broken),
    Stream(Box<Answer>),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match self.get_mut() {
            Self::Whole(whole) => {
                let frame = ready!(Pin::new(whole).poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|never| match never {})))
            }
            Self::Broken(broken) => broken.poll(cx),
            Self::Stream(answer) => answer.poll(cx),
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(whole) => whole.size_hint(),
            Self::Broken(_) | Self::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// How long an answer is, and how fast it comes.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub total: u64,
    /// Tokens a second; 0 for as fast as they are taken.
    pub rate: f64,
    pub first_token: Duration,
    pub hang_after: Option<u64>,
    pub tokens_in: u64,
    pub stop_reason: StopReason,
}

/// Tokens between two events `metrics`.
const METRICS: u64 = 16;

impl Plan {
    /// When a token is due, from the slot on.
    pub fn at(&self, place: u64) -> Duration {
        let after = if self.rate > 0.0 {
            Duration::try_from_secs_f64(place as f64 / self.rate).unwrap_or(Duration::MAX)
        } else {
            Duration::ZERO
        };
        self.first_token.saturating_add(after)
    }

    /// Tokens that are due by then.
    fn due(&self, elapsed: Duration, next: u64) -> u64 {
        let Some(decoding) = elapsed.checked_sub(self.first_token) else {
            return 0;
        };
        let due = if self.rate > 0.0 {
            // The next one is due exactly at its time, whatever a division makes of it.
            (decoding.as_secs_f64() * self.rate + 1e-6) as u64 + 1
        } else {
            next + 1
        };
        due.min(self.total)
    }

    pub fn end(&self, elapsed: Duration) -> End {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
        End {
            tokens_in: self.tokens_in,
            tokens_cached: 0,
            tokens_out: self.total,
            prefill_time_ms: milliseconds(self.first_token),
            decode_time_ms: milliseconds(elapsed.saturating_sub(self.first_token)),
            stop_reason: self.stop_reason,
            stop_sequence: None,
        }
    }
}

type Slot = Result<OwnedSemaphorePermit, AcquireError>;

enum State {
    Waiting(Pin<Box<dyn Future<Output = Slot> + Send>>),
    Running {
        _slot: OwnedSemaphorePermit,
        began: Instant,
        next: u64,
    },
    Over,
}

/// One stream.
pub(crate) struct Answer {
    turn: Turn,
    frames: Frames,
    plan: Plan,
    state: State,
    timer: Pin<Box<Sleep>>,
    keep_alive: Duration,
    /// When the last piece was made.
    spoke: Instant,
    /// Told with the last frame.
    outcome: Option<Outcome>,
    cut: Option<u64>,
    /// The connection had the time to write what it was given.
    is_flushed: bool,
}

impl Answer {
    /// The answer of a job, cut after so many bytes where that is asked for.
    pub fn new(turn: Turn, frames: Frames, plan: Plan, cut: Option<u64>) -> Self {
        let slots = turn.shared.slots.clone();
        let now = Instant::now();
        Self {
            keep_alive: turn.shared.settings.keep_alive,
            turn,
            frames,
            plan,
            state: State::Waiting(Box::pin(slots.acquire_owned())),
            timer: Box::pin(tokio::time::sleep_until(now)),
            spoke: now,
            outcome: None,
            cut,
            is_flushed: false,
        }
    }

    fn poll(&mut self, cx: &mut Context) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let must_flush = self.cut == Some(0) || self.plan.rate == 0.0;
        if must_flush && !std::mem::replace(&mut self.is_flushed, true) {
            // A connection writes what it has before it asks again.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.cut == Some(0) {
            self.turn.job.end(Outcome::Cut);
            return Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())));
        }
        let Some(mut piece) = ready!(self.next(cx)) else {
            return Poll::Ready(None);
        };
        self.is_flushed = false;
        self.spoke = Instant::now();
        let whole = piece.len() as u64;
        if let Some(left) = &mut self.cut {
            piece.truncate((*left).min(whole) as usize);
            *left -= piece.len() as u64;
        }
        if let Some(outcome) = self.outcome.filter(|_| piece.len() as u64 == whole) {
            self.turn.job.end(outcome);
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    /// The next frames, when they are due.
    fn next(&mut self, cx: &mut Context) -> Poll<Option<Bytes>> {
        let mut out = BytesMut::new();
        loop {
            let next_due = match &mut self.state {
                State::Over => return Poll::Ready(None),
                State::Running { next, .. } if self.plan.hang_after == Some(*next) => {
                    return Poll::Pending;
                }
                _ if self.turn.job.poll_cancelled(cx) => {
                    self.fail(&mut out);
                    None
                }
                State::Waiting(slot) => match slot.as_mut().poll(cx) {
                    Poll::Ready(Ok(slot)) => {
                        self.frames.started(&mut out);
                        self.state = State::Running {
                            _slot: slot,
                            began: Instant::now(),
                            next: 0,
                        };
                        None
                    }
                    // Slots are never taken away.
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                    Poll::Pending => None,
                },
                State::Running { began, .. } => {
                    let began = *began;
                    self.tell(began, &mut out)
                        .map(|next| began + self.plan.at(next))
                }
            };
            if !out.is_empty() {
                return Poll::Ready(Some(out.freeze()));
            }
            if matches!(self.state, State::Over) {
                continue;
            }
            let quiet_until = self.spoke + self.keep_alive;
            self.timer
                .as_mut()
                .reset(next_due.map_or(quiet_until, |due| due.min(quiet_until)));
            ready!(self.timer.as_mut().poll(cx));
            if Instant::now() >= quiet_until {
                return Poll::Ready(Some(Bytes::from_static(KEEP_ALIVE.as_bytes())));
            }
        }
    }

    /// Writes what is due; returns the place of the token that comes next.
    fn tell(&mut self, began: Instant, out: &mut BytesMut) -> Option<u64> {
        let State::Running { next, .. } = &mut self.state else {
            return None;
        };
        let elapsed = began.elapsed();
        let due = self.plan.due(elapsed, *next);
        let due = self.plan.hang_after.map_or(due, |most| due.min(most));
        while *next < due {
            self.frames.token(*next, out);
            *next += 1;
            if next.is_multiple_of(METRICS) && *next < self.plan.total {
                let metrics = StreamEvent::Metrics {
                    tokens_out: *next,
                    decode_time_ms: elapsed.as_secs_f64() * 1e3,
                    memory_bytes: 0,
                };
                self.frames.event(&metrics, out);
            }
        }
        let next = *next;
        self.turn.job.sent(next);
        if next == self.plan.total {
            let end = StreamEvent::End(self.plan.end(elapsed));
            self.frames.event(&end, out);
            self.outcome = Some(Outcome::Ended);
            self.state = State::Over;
        }
        Some(next)
    }

    fn fail(&mut self, out: &mut BytesMut) {
        let failure = StreamEvent::Error(Failure {
            code: FailureCode::Cancelled,
            message: "the request was cancelled".to_owned(),
            retriable: false,
        });
        self.frames.event(&failure, out);
        self.outcome = Some(Outcome::Cancelled);
        self.state = State::Over;
    }
}

/// The beginning of a document, and then nothing.
pub(crate) struct Broken {
    turn: Turn,
    /// What is left of it.
    piece: Bytes,
    is_flushed: bool,
}

impl Broken {
    pub fn new(turn: Turn, piece: Bytes) -> Self {
        Self {
            turn,
            piece,
            is_flushed: false,
        }
    }

    fn poll(&mut self, cx: &mut Context) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if !self.piece.is_empty() {
            let piece = std::mem::take(&mut self.piece);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if !std::mem::replace(&mut self.is_flushed, true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.turn.job.end(Outcome::Cut);
        Poll::Ready(Some(Err(io::ErrorKind::ConnectionReset.into())))
    }
}
