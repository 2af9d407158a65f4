//! A worker's stream on its way through, as it is: nobody reads it, but where it ends.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_front::Trace;
use hyper::body::{Body, Frame};
use memchr::{memmem, memrchr_iter};
use pool_core::serving::openai::{DONE, OpenAiError, OpenAiErrorBody, usage_in};
use pool_core::serving::{Failure, FailureCode};
use tokio::time::Sleep;

use crate::core::{AttemptError, Next, Used};
use crate::daemon::{Answer, AttemptSpan, Ended, Orchestrator, Signal, Turn};

/// What a poll of the body gives.
type Passed = Poll<Option<Result<Frame<Bytes>, Infallible>>>;

/// The body of an answer. Dropped before its end, because the client left, it cancels the task and closes the worker's stream.
pub struct Passing {
    orchestrator: Arc<Orchestrator>,
    turn: Turn,
    traced: Traced,
    first: Option<Bytes>,
    stream: Answer,
    progress: Progress,
    heard: Instant,
    alarm: Pin<Box<Sleep>>,
    /// The others had their turn since this one was woken.
    has_waited: bool,
    /// What became of the task is told.
    is_settled: bool,
    is_over: bool,
}

/// The spans that end with a stream.
pub struct Traced {
    pub span: AttemptSpan,
    pub _request: Trace,
}

/// What is known of a stream without reading it.
#[derive(Default)]
struct Progress {
    /// The beginning of a frame whose end has not come.
    partial: BytesMut,
    /// Frames that ended.
    count: u64,
    /// The last whole frames.
    last: Bytes,
    /// Tokens of the prompt and of the answer, once the worker has told them.
    used: Option<(u64, u64)>,
}

/// Bytes that one frame may have.
pub(super) const FRAME_MOST: usize = 256 * 1024;

impl Progress {
    /// Takes the next bytes and returns the whole frames there are.
    fn push(&mut self, bytes: Bytes) -> Result<Option<Bytes>, AttemptError> {
        let mut bytes = bytes;
        if !self.partial.is_empty() {
            self.partial.extend_from_slice(&bytes);
            bytes = std::mem::take(&mut self.partial).freeze();
        }
        let end = frames_end(&bytes);
        let rest = bytes.split_off(end);
        if rest.len() > FRAME_MOST {
            let message = format!("a frame has more than {FRAME_MOST} bytes");
            return Err(AttemptError::Protocol { message });
        }
        self.partial.extend_from_slice(&rest);
        if bytes.is_empty() {
            return Ok(None);
        }
        self.count += memmem::find_iter(&bytes, b"\ndata:").count() as u64
            + u64::from(bytes.starts_with(b"data:"));
        self.used = usage_in(&bytes).or(self.used);
        self.last = bytes.clone();
        Ok(Some(bytes))
    }

    fn is_whole(&self) -> bool {
        self.partial.is_empty()
            && self
                .last
                .trim_ascii_end()
                .ends_with(DONE.trim_end().as_bytes())
    }

    /// The worker has said why there is no more.
    fn has_failed(&self) -> bool {
        memmem::find(&self.last, b"data: {\"error\":").is_some()
    }

    fn used(&self) -> Used {
        let (tokens_in, tokens_out) = self.used.unwrap_or((0, self.tokens()));
        Used {
            tokens_in,
            tokens_out,
        }
    }

    /// A frame for each token, one with the reason of the end, one that says that it is done.
    fn tokens(&self) -> u64 {
        self.count.saturating_sub(2)
    }
}

/// Where the last whole frame ends.
fn frames_end(bytes: &[u8]) -> usize {
    let mut breaks = memrchr_iter(b'\n', bytes);
    let is_end = |&at: &usize| {
        let before = bytes[..at].strip_suffix(b"\r").unwrap_or(&bytes[..at]);
        before.ends_with(b"\n")
    };
    breaks.find(is_end).map_or(0, |at| at + 1)
}

impl Passing {
    pub fn new(
        orchestrator: &Arc<Orchestrator>,
        turn: Turn,
        traced: Traced,
        (first, stream): (Bytes, Answer),
    ) -> Self {
        let stall = orchestrator.limits.stall;
        Self {
            orchestrator: Arc::clone(orchestrator),
            turn,
            traced,
            first: Some(first),
            stream,
            progress: Progress::default(),
            heard: Instant::now(),
            alarm: Box::pin(tokio::time::sleep(stall)),
            has_waited: false,
            is_settled: false,
            is_over: false,
        }
    }

    /// Passes on what is whole of these bytes; pending where nothing is.
    fn pass(&mut self, bytes: Bytes) -> Passed {
        self.heard = Instant::now();
        match self.progress.push(bytes) {
            Ok(Some(frames)) => {
                if self.progress.is_whole() && !self.is_settled {
                    self.settle();
                }
                Poll::Ready(Some(Ok(Frame::data(frames))))
            }
            Ok(None) => Poll::Pending,
            Err(error) => self.fail(error),
        }
    }

    /// The stream came to an end by itself.
    fn close(&mut self) -> Passed {
        if !self.is_settled {
            return self.fail(AttemptError::Cut);
        }
        self.is_over = true;
        Poll::Ready(None)
    }

    /// The answer is whole: clients leave when they have read so, and do not wait for the end of the stream.
    fn settle(&mut self) {
        self.is_settled = true;
        if self.progress.has_failed() {
            // The client has read why.
            let failure = Failure {
                code: FailureCode::Internal,
                message: "the worker failed in the middle of the answer".to_owned(),
                retriable: false,
            };
            let error = AttemptError::Worker { failure };
            self.traced.span.failed(&error);
            self.turn.failed(error);
        } else {
            let used = self.progress.used();
            self.traced.span.completed(used);
            self.turn.ended(used);
        }
    }

    fn fail(&mut self, error: AttemptError) -> Passed {
        self.is_over = true;
        if self.is_settled {
            return Poll::Ready(None);
        }
        self.turn.passes_on(self.progress.tokens());
        self.traced.span.failed(&error);
        match self.turn.failed(error) {
            Next::Failed(failure) => say(failure),
            Next::Requeued | Next::Stale => say(gone()),
        }
    }

    fn silent_for(&self) -> Duration {
        self.heard.elapsed()
    }
}

fn gone() -> Failure {
    Failure {
        code: FailureCode::Cancelled,
        message: "the request was cancelled".to_owned(),
        retriable: false,
    }
}

/// The error that ends a stream.
fn say(failure: Failure) -> Passed {
    let body = OpenAiErrorBody {
        error: OpenAiError::from(failure),
    };
    let json = serde_json::to_string(&body).unwrap_or_default();
    Poll::Ready(Some(Ok(Frame::data(format!("data: {json}\n\n").into()))))
}

impl Body for Passing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Passed {
        let this = self.get_mut();
        if this.is_over {
            return Poll::Ready(None);
        }
        if let Some(first) = this.first.take() {
            let passed = this.pass(first);
            if passed.is_ready() {
                return passed;
            }
        }
        // Where many streams are busy, what comes while the others have their turn is passed on together.
        if this.progress.count > 0 && !std::mem::replace(&mut this.has_waited, true) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let stall = this.orchestrator.limits.stall;
        let signal = if this.is_settled {
            Poll::Pending
        } else {
            this.turn.poll(context)
        };
        match signal {
            Poll::Ready(Signal::Stop(why)) => {
                this.is_over = true;
                return say(match why {
                    Ended::Cancelled => gone(),
                    Ended::Failed(failure) => failure,
                });
            }
            Poll::Ready(Signal::Lost | Signal::Run(_)) => {
                let silent_ms = this.silent_for().as_millis() as u64;
                return this.fail(AttemptError::Stall { silent_ms });
            }
            Poll::Pending => {}
        }
        while let Poll::Ready(next) = this.stream.poll_next(context) {
            let passed = match next {
                Ok(None) => this.close(),
                Err(error) => this.fail(error),
                Ok(Some(bytes)) => this.pass(bytes),
            };
            if passed.is_ready() {
                return passed;
            }
        }
        // The alarm is set anew only when it rings.
        while this.alarm.as_mut().poll(context).is_ready() {
            let left = stall.saturating_sub(this.silent_for());
            if left.is_zero() {
                let silent_ms = stall.as_millis() as u64;
                return this.fail(AttemptError::Stall { silent_ms });
            }
            this.alarm.as_mut().reset((Instant::now() + left).into());
        }
        this.has_waited = false;
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_pass_whole_wherever_the_stream_is_torn() {
        let unix = format!(
            "data: {{\"a\":1}}\n\ndata: {{\"b\":2}}\n\ndata: {{}}\n\n: usage 5 2\n\n{DONE}"
        );
        for stream in [unix.replace('\n', "\r\n"), unix] {
            for size in 1..stream.len() {
                let mut progress = Progress::default();
                let mut passed = Vec::new();
                for piece in stream.as_bytes().chunks(size) {
                    assert!(!progress.is_whole());
                    let frames = progress.push(Bytes::copy_from_slice(piece)).unwrap();
                    let frames = frames.unwrap_or_default();
                    assert_eq!(frames_end(&frames), frames.len());
                    passed.extend_from_slice(&frames);
                }
                assert!(progress.is_whole() && !progress.has_failed());
                assert_eq!(passed, stream.as_bytes());
                assert_eq!((progress.count, progress.used), (4, Some((5, 2))), "{size}");
            }
        }
    }

    #[test]
    fn a_frame_without_end_is_not_kept_for_ever() {
        let mut progress = Progress::default();
        let piece = Bytes::from(vec![b'a'; FRAME_MOST]);
        assert_eq!(progress.push(piece.clone()), Ok(None));
        assert!(progress.push(piece).is_err());
    }
}
