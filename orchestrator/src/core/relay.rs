//! A worker's stream on its way to the client: checked frame by frame, and numbered as the task's own.
//!
//! The data of a frame is passed on as it came. Keep-alive comments are not passed on. `started` is kept back until something
//! follows it, so that an attempt which fails before its first token leaves no trace; a worker's `error` is not passed on
//! but told, because the task may have another attempt.
//!
//! Format: the WHATWG HTML standard, "Server-sent events", with lines that end in LF or CRLF, as workers write it.

use std::borrow::Cow;
use std::io::Write as _;

use memchr::memchr;
use pool_core::serving::{End, Failure, StreamEvent, StreamFault};
use serde::Deserialize;

/// Bytes that one frame may have: the longest that a worker writes is an `error` of a few kilobytes.
pub const FRAME_MOST: usize = 256 * 1024;

/// Follows the stream of one attempt.
#[derive(Debug)]
pub struct Relay {
    job_id: String,
    /// The beginning of a frame whose end has not come.
    partial: Vec<u8>,
    /// Bytes of `partial` in which there is no end of a frame.
    searched: usize,
    /// Frames of the worker.
    frames: u64,
    /// Tokens of the worker.
    tokens: u64,
    next_id: u64,
    started: Started,
    is_over: bool,
}

#[derive(Debug)]
enum Started {
    NotYet,
    /// The data of a frame that is kept back.
    Held(String),
    PassedOn,
}

/// What the bytes of one [`Relay::push`] said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Passed {
    /// Frames that were written out.
    pub frames: u64,
    /// Of them, tokens.
    pub tokens: u64,
    /// The worker began to compute.
    pub started: bool,
    /// The stream is over: an `end` was written out, an `error` was not.
    pub terminal: Option<Result<End, Failure>>,
}

/// Why a stream cannot be followed any further.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayFault {
    #[error("a frame has more than {FRAME_MOST} bytes")]
    Oversized,
    #[error(transparent)]
    Stream(#[from] StreamFault),
}

/// A `token` whose text nobody looks at.
#[derive(Deserialize)]
struct Token<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    t: Cow<'a, str>,
    i: u64,
}

impl Relay {
    /// Numbers frames from `first_id`, and gives `started` the id of the task.
    pub fn new(job_id: impl Into<String>, first_id: u64) -> Self {
        Self {
            job_id: job_id.into(),
            partial: Vec::new(),
            searched: 0,
            frames: 0,
            tokens: 0,
            next_id: first_id,
            started: Started::NotYet,
            is_over: false,
        }
    }

    /// The id of the next frame: of the one that the caller writes when the stream did not come to its end.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Bytes that wait for the rest of their frame.
    pub fn held(&self) -> usize {
        self.partial.len()
    }

    /// Takes the next bytes and adds the frames that they complete to `out`; after a fault it adds nothing, and takes no more
    /// bytes. What follows the end of the stream is not looked at.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Passed, RelayFault> {
        let before = (out.len(), self.next_id);
        self.take(bytes, out).inspect_err(|_| {
            out.truncate(before.0);
            self.next_id = before.1;
        })
    }

    fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<Passed, RelayFault> {
        let mut passed = Passed::default();
        let mut rest = bytes;
        if !self.partial.is_empty() {
            let before = self.partial.len();
            self.partial.extend_from_slice(bytes);
            let Some(end) = frame_end(&self.partial, self.searched) else {
                return self.keep_on(passed);
            };
            let partial = std::mem::take(&mut self.partial);
            self.searched = 0;
            self.frame(&partial[..end], out, &mut passed)?;
            rest = &bytes[end - before..];
        }
        while !self.is_over {
            let Some(end) = frame_end(rest, 0) else {
                self.partial.extend_from_slice(rest);
                return self.keep_on(passed);
            };
            self.frame(&rest[..end], out, &mut passed)?;
            rest = &rest[end..];
        }
        Ok(passed)
    }

    /// Judges a stream that ended by itself.
    pub fn closed(&self) -> Result<(), RelayFault> {
        if self.is_over {
            Ok(())
        } else {
            Err(StreamFault::Cut.into())
        }
    }

    fn keep_on(&mut self, passed: Passed) -> Result<Passed, RelayFault> {
        if self.partial.len() > FRAME_MOST {
            return Err(RelayFault::Oversized);
        }
        self.searched = self.partial.len();
        Ok(passed)
    }

    fn frame(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        passed: &mut Passed,
    ) -> Result<(), RelayFault> {
        if bytes.len() > FRAME_MOST {
            return Err(RelayFault::Oversized);
        }
        let text = std::str::from_utf8(bytes).map_err(|e| unreadable("", &e))?;
        let Some(fields) = Fields::read(text) else {
            return Ok(());
        };
        if fields.id.parse() != Ok(self.frames) {
            return Err(RelayFault::Stream(StreamFault::WrongId {
                expected: self.frames,
                found: fields.id.chars().take(32).collect(),
            }));
        }
        self.frames += 1;
        if fields.event == "token" {
            return self.token(&fields.data, out, passed);
        }
        let event: StreamEvent =
            serde_json::from_str(&fields.data).map_err(|e| unreadable(fields.event, &e))?;
        if event.name() != fields.event {
            let denied = format!("its data is a `{}`", event.name());
            return Err(unreadable(fields.event, &denied));
        }
        match event {
            StreamEvent::Started {
                model,
                seed,
                started_at,
                ..
            } => {
                if !matches!(self.started, Started::NotYet) {
                    return Err(StreamFault::StartedTwice.into());
                }
                let own = StreamEvent::Started {
                    job_id: self.job_id.clone(),
                    model,
                    seed,
                    started_at,
                };
                self.started = Started::Held(own.to_frame(0).data);
                passed.started = true;
            }
            StreamEvent::Error(failure) => {
                self.is_over = true;
                passed.terminal = Some(Err(failure));
            }
            StreamEvent::Token { .. } => {}
            StreamEvent::Metrics { .. } => self.pass("metrics", &fields.data, out, passed)?,
            StreamEvent::End(end) => {
                self.pass("end", &fields.data, out, passed)?;
                self.is_over = true;
                passed.terminal = Some(Ok(end));
            }
        }
        Ok(())
    }

    fn token(
        &mut self,
        data: &str,
        out: &mut Vec<u8>,
        passed: &mut Passed,
    ) -> Result<(), RelayFault> {
        let token: Token<'_> = serde_json::from_str(data).map_err(|e| unreadable("token", &e))?;
        if token.kind != "token" || token.t.is_empty() {
            return Err(unreadable("token", &"its data is no token"));
        }
        if token.i != self.tokens {
            return Err(RelayFault::Stream(StreamFault::WrongToken {
                expected: self.tokens,
                found: token.i,
            }));
        }
        self.pass("token", data, out, passed)?;
        self.tokens += 1;
        passed.tokens += 1;
        Ok(())
    }

    /// Writes a frame out, after `started`.
    fn pass(
        &mut self,
        event: &str,
        data: &str,
        out: &mut Vec<u8>,
        passed: &mut Passed,
    ) -> Result<(), RelayFault> {
        match std::mem::replace(&mut self.started, Started::PassedOn) {
            Started::NotYet => return Err(StreamFault::NotStarted.into()),
            Started::Held(started) => self.write("started", &started, out, passed),
            Started::PassedOn => {}
        }
        self.write(event, data, out, passed);
        Ok(())
    }

    fn write(&mut self, event: &str, data: &str, out: &mut Vec<u8>, passed: &mut Passed) {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        // Writing to a vector cannot fail.
        let _ = write!(out, "\nid: {}\n", self.next_id);
        for line in data.split('\n') {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
        }
        out.push(b'\n');
        self.next_id += 1;
        passed.frames += 1;
    }
}

fn unreadable(event: &str, reason: &dyn std::fmt::Display) -> RelayFault {
    RelayFault::Stream(StreamFault::Unreadable {
        event: event.chars().take(32).collect(),
        reason: reason.to_string(),
    })
}

/// Where the first frame ends, its blank line included; nothing before `searched` is one, except that it may begin there.
fn frame_end(bytes: &[u8], searched: usize) -> Option<usize> {
    let mut at = searched.saturating_sub(2);
    while let Some(found) = memchr(b'\n', &bytes[at..]) {
        at += found + 1;
        match bytes.get(at..)? {
            [b'\n', ..] => return Some(at + 1),
            [b'\r', b'\n', ..] => return Some(at + 2),
            _ => {}
        }
    }
    None
}

/// The fields of a frame.
struct Fields<'a> {
    event: &'a str,
    id: &'a str,
    data: Cow<'a, str>,
}

impl<'a> Fields<'a> {
    /// None for a frame without data: a comment, or nothing.
    fn read(text: &'a str) -> Option<Self> {
        let (mut event, mut id) = ("message", "");
        let mut data: Option<Cow<'a, str>> = None;
        for line in text.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match (field, &mut data) {
                ("event", _) => event = value,
                ("id", _) => id = value,
                ("data", Some(data)) => {
                    let data = data.to_mut();
                    data.push('\n');
                    data.push_str(value);
                }
                ("data", None) => data = Some(Cow::Borrowed(value)),
                _ => {}
            }
        }
        data.map(|data| Self { event, id, data })
    }
}

#[cfg(test)]
#[path = "relay_tests.rs"]
mod tests;
