//! Whether a stream of `POST /execute` is whole.

use super::event::{End, Failure, StreamEvent};
use super::sse::Frame;

/// Follows a stream frame by frame: `started` first, ids 0, 1, 2…, tokens counted from 0, exactly one
/// terminal event, nothing after it.
///
/// ```
/// # use pool_core::serving::{SseParser, StreamCheck, StreamFault};
/// let mut parser = SseParser::default();
/// let mut check = StreamCheck::default();
/// for frame in parser.push(b"event: token\nid: 0\ndata: {\"type\":\"token\",\"t\":\"a\",\"i\":0}\n\n") {
///     assert_eq!(check.frame(&frame), Err(StreamFault::NotStarted));
/// }
/// ```
#[derive(Debug, Default)]
pub struct StreamCheck {
    frames: u64,
    tokens: u64,
    text: String,
    started: Option<(String, u64)>,
    terminal: Option<Result<End, Failure>>,
}

/// A whole answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub job_id: String,
    pub seed: u64,
    pub text: String,
    /// Pieces that the text came in.
    pub pieces: u64,
    pub end: End,
}

/// What is wrong with a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamFault {
    #[error("the stream does not begin with `started`")]
    NotStarted,
    #[error("the stream has a second `started`")]
    StartedTwice,
    #[error("the stream has the id {found} where {expected} comes next")]
    WrongId { expected: u64, found: String },
    #[error("the stream has the token {found} where {expected} comes next")]
    WrongToken { expected: u64, found: u64 },
    #[error("the stream has an event `{event}` that cannot be read: {reason}")]
    Unreadable { event: String, reason: String },
    #[error("the stream goes on after its end")]
    AfterEnd,
    #[error("the stream was cut: it has no end")]
    Cut,
    /// The stream is well-formed and says that the answer failed.
    #[error(transparent)]
    Failed(Failure),
}

impl StreamCheck {
    /// Takes the next frame and returns what it says.
    pub fn frame(&mut self, frame: &Frame) -> Result<StreamEvent, StreamFault> {
        let unreadable = |reason: String| StreamFault::Unreadable {
            event: frame.event.clone(),
            reason,
        };
        let event: StreamEvent =
            serde_json::from_str(&frame.data).map_err(|error| unreadable(error.to_string()))?;
        if event.name() != frame.event {
            return Err(unreadable(format!("its data is a `{}`", event.name())));
        }
        if self.terminal.is_some() {
            return Err(StreamFault::AfterEnd);
        }
        let id = frame.id.as_deref().unwrap_or_default();
        if id != self.frames.to_string() {
            return Err(StreamFault::WrongId {
                expected: self.frames,
                found: id.to_owned(),
            });
        }
        self.event(&event)?;
        self.frames += 1;
        Ok(event)
    }

    fn event(&mut self, event: &StreamEvent) -> Result<(), StreamFault> {
        match event {
            StreamEvent::Started { .. } if self.started.is_some() => {
                return Err(StreamFault::StartedTwice);
            }
            StreamEvent::Started { job_id, seed, .. } => {
                self.started = Some((job_id.clone(), *seed));
            }
            StreamEvent::Error(failure) => self.terminal = Some(Err(failure.clone())),
            _ if self.started.is_none() => return Err(StreamFault::NotStarted),
            StreamEvent::Token { i, .. } if *i != self.tokens => {
                return Err(StreamFault::WrongToken {
                    expected: self.tokens,
                    found: *i,
                });
            }
            StreamEvent::Token { t, .. } => {
                self.text.push_str(t);
                self.tokens += 1;
            }
            StreamEvent::Metrics { .. } => {}
            StreamEvent::End(end) => self.terminal = Some(Ok(end.clone())),
        }
        Ok(())
    }

    /// The terminal event was there: nothing more has to be read.
    pub fn is_ended(&self) -> bool {
        self.terminal.is_some()
    }

    /// The text until now.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Judges the stream, which has ended. A model may end its answer at once: then there are no pieces and no text.
    pub fn finish(self) -> Result<Answer, StreamFault> {
        let end = self
            .terminal
            .ok_or(StreamFault::Cut)?
            .map_err(StreamFault::Failed)?;
        let (job_id, seed) = self.started.ok_or(StreamFault::NotStarted)?;
        Ok(Answer {
            job_id,
            seed,
            text: self.text,
            pieces: self.tokens,
            end,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::{FailureCode, StopReason};
    use jiff::Timestamp;

    fn started() -> StreamEvent {
        StreamEvent::Started {
            job_id: "j".into(),
            model: "tiny".parse().unwrap(),
            seed: 7,
            started_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn token(t: &str, i: u64) -> StreamEvent {
        StreamEvent::Token { t: t.into(), i }
    }

    fn end() -> StreamEvent {
        StreamEvent::End(End {
            tokens_in: 1,
            tokens_cached: 0,
            tokens_out: 2,
            prefill_time_ms: 0.0,
            decode_time_ms: 0.0,
            stop_reason: StopReason::Eos,
            stop_sequence: None,
        })
    }

    fn failed() -> Failure {
        Failure {
            code: FailureCode::Cancelled,
            message: "m".into(),
            retriable: false,
        }
    }

    fn judge(events: &[StreamEvent]) -> Result<Answer, StreamFault> {
        let mut check = StreamCheck::default();
        for (id, event) in events.iter().enumerate() {
            assert_eq!(check.frame(&event.to_frame(id as u64))?, *event);
        }
        check.finish()
    }

    #[test]
    fn a_whole_stream_gives_its_text() {
        let metrics = StreamEvent::Metrics {
            tokens_out: 1,
            decode_time_ms: 1.0,
            memory_bytes: 0,
        };
        let answer = judge(&[started(), token("Pa", 0), metrics, token("ris", 1), end()]).unwrap();
        assert_eq!(
            (answer.text.as_str(), answer.pieces, answer.seed),
            ("Paris", 2, 7)
        );
    }

    #[test]
    fn an_answer_may_be_empty() {
        let mut check = StreamCheck::default();
        for (event, id) in [started(), end()].iter().zip(0..) {
            check.frame(&event.to_frame(id)).unwrap();
        }
        let answer = check.finish().unwrap();
        assert_eq!((answer.text.as_str(), answer.pieces), ("", 0));
    }

    #[test]
    fn every_fault_has_its_name() {
        for (events, fault) in [
            (vec![], StreamFault::Cut),
            (vec![started(), token("a", 0)], StreamFault::Cut),
            (vec![token("a", 0)], StreamFault::NotStarted),
            (vec![end()], StreamFault::NotStarted),
            (vec![started(), started()], StreamFault::StartedTwice),
            (
                vec![started(), token("a", 0), end(), end()],
                StreamFault::AfterEnd,
            ),
            (
                vec![StreamEvent::Error(failed())],
                StreamFault::Failed(failed()),
            ),
            (
                vec![started(), token("a", 0), StreamEvent::Error(failed())],
                StreamFault::Failed(failed()),
            ),
            (
                vec![started(), token("a", 1)],
                StreamFault::WrongToken {
                    expected: 0,
                    found: 1,
                },
            ),
        ] {
            assert_eq!(judge(&events), Err(fault), "{events:?}");
        }
    }

    #[test]
    fn ids_count_from_zero_without_a_gap() {
        let mut check = StreamCheck::default();
        check.frame(&started().to_frame(0)).unwrap();
        let found = check.frame(&token("a", 0).to_frame(2));
        let fault = StreamFault::WrongId {
            expected: 1,
            found: "2".into(),
        };
        assert_eq!(found, Err(fault));
    }

    #[test]
    fn a_name_that_its_data_denies_is_unreadable() {
        let mut frame = started().to_frame(0);
        frame.event = "token".into();
        let fault = StreamCheck::default().frame(&frame).unwrap_err();
        assert!(matches!(fault, StreamFault::Unreadable { .. }), "{fault}");
        frame.data = "{}".into();
        let fault = StreamCheck::default().frame(&frame).unwrap_err();
        assert!(matches!(fault, StreamFault::Unreadable { .. }), "{fault}");
    }
}
