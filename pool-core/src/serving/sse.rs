//! Server-sent events as text, and back from bytes that come in any pieces.
//!
//! Format: the WHATWG HTML standard, "Server-sent events", sections 9.2.5 and 9.2.6.

use std::fmt;

/// A comment line: it says nothing and keeps an idle connection open.
pub const KEEP_ALIVE: &str = ": keep-alive\n\n";

/// One event of a stream, before anybody knows what its data means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The field `event`; `message` where the stream names none.
    pub event: String,
    /// The last `id` that the stream gave, with this event or before it.
    pub id: Option<String>,
    pub data: String,
}

/// Writes the frame as it travels, its blank line at the end included.
impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "event: {}", self.event)?;
        if let Some(id) = &self.id {
            writeln!(f, "id: {id}")?;
        }
        for line in self.data.split('\n') {
            writeln!(f, "data: {line}")?;
        }
        writeln!(f)
    }
}

/// Collects bytes into frames. Lines end with LF, CRLF or CR; comments and unknown fields are skipped.
///
/// An event without its blank line is not an event: a cut stream loses it, as the standard wants.
#[derive(Debug, Default)]
pub struct SseParser {
    line: Vec<u8>,
    /// The last byte was CR: an LF right after it belongs to the same line end.
    after_cr: bool,
    /// The first line, which may begin with a byte order mark, was read.
    begun: bool,
    event: String,
    data: Option<String>,
    id: Option<String>,
}

impl SseParser {
    /// Takes the next bytes; returns the frames that they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Frame> {
        let mut frames = Vec::new();
        for &byte in bytes {
            let ends_crlf = self.after_cr && byte == b'\n';
            self.after_cr = byte == b'\r';
            match byte {
                _ if ends_crlf => {}
                b'\n' | b'\r' => frames.extend(self.end_line()),
                _ => self.line.push(byte),
            }
        }
        frames
    }

    fn end_line(&mut self) -> Option<Frame> {
        let bytes = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&bytes);
        let mut line = text.as_ref();
        if !std::mem::replace(&mut self.begun, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Frame> {
        let event = std::mem::take(&mut self.event);
        let data = self.data.take()?;
        Some(Frame {
            event: if event.is_empty() {
                "message".to_owned()
            } else {
                event
            },
            id: self.id.clone(),
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(event: &str, id: &str, data: &str) -> Frame {
        Frame {
            event: event.into(),
            id: Some(id.into()),
            data: data.into(),
        }
    }

    fn parse(pieces: &[&[u8]]) -> Vec<Frame> {
        let mut parser = SseParser::default();
        pieces.iter().flat_map(|piece| parser.push(piece)).collect()
    }

    #[test]
    fn a_frame_reads_back_as_it_was_written_wherever_the_stream_is_torn() {
        let frames = vec![
            frame("started", "0", "{\"a\":1}"),
            frame("token", "1", "é 🚀: x"),
            frame("end", "2", "two\nlines\n"),
        ];
        let written: Vec<String> = frames.iter().map(Frame::to_string).collect();
        let text = written.join(KEEP_ALIVE);
        for line_end in ["\n", "\r\n", "\r"] {
            let text = text.replace('\n', line_end);
            let bytes = text.as_bytes();
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(parse(&single), frames, "{line_end:?}");
            for at in 0..=bytes.len() {
                let (left, right) = bytes.split_at(at);
                assert_eq!(parse(&[left, right]), frames, "{line_end:?} torn at {at}");
            }
        }
    }

    #[test]
    fn the_standard_is_kept() {
        let nothing = parse(&[b": comment\n\nevent: x\n\nretry: 10\n\n"]);
        assert_eq!(nothing, []);
        let unnamed = parse(&["\u{feff}data:a\ndata\ndata: b\nother: c\n\n".as_bytes()]);
        let expected = Frame {
            event: "message".into(),
            id: None,
            data: "a\n\nb".into(),
        };
        assert_eq!(unnamed, [expected]);
        let kept_id = parse(&[b"id: 7\nevent: a\ndata: 1\n\nevent: b\ndata: 2\n\n"]);
        assert_eq!(kept_id, [frame("a", "7", "1"), frame("b", "7", "2")]);
    }

    #[test]
    fn a_cut_frame_is_no_frame() {
        assert_eq!(parse(&[b"event: end\nid: 1\ndata: {}\n"]), []);
    }
}
