//! How an answer is written: as events of `/execute`, or in OpenAI's words.

use std::fmt::Write as _;

use bytes::BytesMut;
use jiff::Timestamp;
use pool_core::name::ModelId;
use pool_core::serving::StreamEvent;

use crate::faults::Malformed;
use crate::openai::OpenAi;

/// Bytes of a token that is too large for everybody.
const OVERSIZED: usize = 4 << 20;
/// Neither UTF-8 nor a line of a frame.
const GARBAGE: &[u8] = b"\xff\xfe\x00\x80\xc3\x28 garbage";

/// The text of an answer of so many tokens of so many bytes.
///
/// ```
/// assert_eq!(mock_worker::text_of(3, 4), " 0.. 1.. 2..");
/// ```
pub fn text_of(tokens: u64, token_bytes: usize) -> String {
    let mut text = String::new();
    for place in 0..tokens {
        let _ = write_token(place, token_bytes, &mut text);
    }
    text
}

pub(crate) fn write_token(
    place: u64,
    bytes: usize,
    out: &mut impl std::fmt::Write,
) -> std::fmt::Result {
    const DOTS: &str = "................................";
    write!(out, " {place}")?;
    let digits = place.checked_ilog10().map_or(1, |tens| tens as usize + 1);
    let mut missing = bytes.saturating_sub(1 + digits);
    while missing > 0 {
        let dots = missing.min(DOTS.len());
        out.write_str(&DOTS[..dots])?;
        missing -= dots;
    }
    Ok(())
}

/// Writes one stream, and spoils it where that is asked for.
pub(crate) struct Frames {
    pub talk: Talk,
    pub token_bytes: usize,
    pub malformed: Option<Malformed>,
    /// The token that is spoiled.
    pub spoiled: u64,
}

/// Whose words.
pub(crate) enum Talk {
    Execute {
        job_id: String,
        model: ModelId,
        seed: u64,
        /// The id of the next frame.
        id: u64,
    },
    OpenAi(OpenAi),
}

impl Frames {
    pub fn started(&mut self, out: &mut BytesMut) {
        if self.malformed != Some(Malformed::NoStart) {
            let at = out.len();
            self.talk.started(out);
            self.end_lines(at, out);
        }
    }

    pub fn token(&mut self, place: u64, out: &mut BytesMut) {
        let at = out.len();
        let malformed = self.malformed.filter(|_| place == self.spoiled);
        if malformed == Some(Malformed::Garbage) {
            out.extend_from_slice(GARBAGE);
        } else {
            self.talk.token(place, self.token_bytes, malformed, out);
        }
        self.end_lines(at, out);
    }

    pub fn event(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        let at = out.len();
        let times = match self.malformed {
            Some(Malformed::NoEnd) if event.is_terminal() => 0,
            Some(Malformed::TwoEnds) if event.is_terminal() => 2,
            _ => 1,
        };
        for _ in 0..times {
            self.talk.event(event, out);
        }
        self.end_lines(at, out);
    }

    /// Gives the lines from here on the ends that were asked for.
    fn end_lines(&self, at: usize, out: &mut BytesMut) {
        if self.malformed == Some(Malformed::Crlf) {
            for &byte in &out.split_off(at) {
                out.extend_from_slice(if byte == b'\n' {
                    b"\r\n"
                } else {
                    std::slice::from_ref(&byte)
                });
            }
        }
    }
}

impl Talk {
    fn started(&mut self, out: &mut BytesMut) {
        match self {
            Self::OpenAi(openai) => openai.started(out),
            Self::Execute {
                job_id,
                model,
                seed,
                ..
            } => {
                let event = StreamEvent::Started {
                    job_id: job_id.clone(),
                    model: model.clone(),
                    seed: *seed,
                    started_at: Timestamp::now(),
                };
                self.event(&event, out);
            }
        }
    }

    fn token(
        &mut self,
        place: u64,
        bytes: usize,
        malformed: Option<Malformed>,
        out: &mut BytesMut,
    ) {
        let bytes = match malformed {
            Some(Malformed::Oversized) => OVERSIZED,
            _ => bytes,
        };
        // Writing to memory does not fail.
        let _ = match self {
            Self::OpenAi(openai) => openai.token(place, bytes, malformed, out),
            Self::Execute { id, .. } => {
                if malformed == Some(Malformed::WrongId) {
                    *id += 1;
                }
                write_event(*id, place, bytes, malformed, out)
            }
        };
        if let Self::Execute { id, .. } = self {
            *id += 1;
        }
    }

    fn event(&mut self, event: &StreamEvent, out: &mut BytesMut) {
        match self {
            Self::OpenAi(openai) => openai.event(event, out),
            Self::Execute { id, .. } => {
                let _ = write!(out, "{}", event.to_frame(*id));
                *id += 1;
            }
        }
    }
}

/// The same as [`StreamEvent::to_frame`], without the detours.
fn write_event(
    id: u64,
    place: u64,
    bytes: usize,
    malformed: Option<Malformed>,
    out: &mut BytesMut,
) -> std::fmt::Result {
    write!(
        out,
        "event: token\nid: {id}\ndata: {{\"type\":\"token\",\"t\":"
    )?;
    if malformed == Some(Malformed::BadJson) {
        return out.write_str("\n\n");
    }
    out.write_str("\"")?;
    write_token(place, bytes, out)?;
    let index = place + u64::from(malformed == Some(Malformed::WrongIndex));
    write!(out, "\",\"i\":{index}}}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_written_as_the_contract_writes_it() {
        for (place, bytes) in [(0, 4), (7, 1), (12_345, 4), (3, 100)] {
            let mut out = BytesMut::new();
            write_event(place + 1, place, bytes, None, &mut out).unwrap();
            let t = text_of(place + 1, bytes)[text_of(place, bytes).len()..].to_owned();
            let frame = StreamEvent::Token { t, i: place }.to_frame(place + 1);
            assert_eq!(out, frame.to_string().as_bytes());
        }
        assert_eq!(text_of(1, 100).len(), 100);
    }
}
