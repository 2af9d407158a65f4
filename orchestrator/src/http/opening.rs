//! The beginning of a worker's stream of OpenAI's, as long as another worker may still take over.

use bytes::{Bytes, BytesMut};
use pool_core::serving::SseParser;
use serde::Deserialize;

use super::passing::FRAME_MOST;

/// The first bytes of a stream, held back until they say something.
///
/// The chunk with which a chat begins names the role alone: a worker sends it before it reads the prompt. A comment ends
/// the wait too: it comes when a worker computes for long, and keeps the client's connection open.
#[derive(Default)]
pub struct Opening {
    held: BytesMut,
    frames: SseParser,
}

impl Opening {
    /// Takes what came next; returns all that came once it says something.
    pub fn push(&mut self, bytes: &Bytes) -> Option<Bytes> {
        self.held.extend_from_slice(bytes);
        let mut said = self.frames.push(bytes).into_iter();
        let is_over = bytes.starts_with(b":")
            || said.any(|frame| !is_role_alone(&frame.data))
            || self.held.len() > FRAME_MOST;
        is_over.then(|| self.held.split().freeze())
    }
}

#[derive(Deserialize)]
struct Chunk {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Delta,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    role: Option<String>,
    content: Option<String>,
}

fn is_role_alone(data: &str) -> bool {
    let chunk: Option<Chunk> = serde_json::from_str(data).ok();
    chunk.is_some_and(|chunk| {
        chunk.choices.iter().all(|choice| {
            let content = choice.delta.content.as_deref();
            choice.delta.role.is_some()
                && content.unwrap_or_default().is_empty()
                && choice.finish_reason.is_none()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\
                        \"finish_reason\":null}]}\n\n";

    /// What is let through of these pieces, and after how many of them.
    fn read(pieces: &[&str]) -> Option<(String, usize)> {
        let mut opening = Opening::default();
        pieces.iter().zip(1..).find_map(|(piece, count)| {
            let said = opening.push(&Bytes::copy_from_slice(piece.as_bytes()))?;
            Some((String::from_utf8(said.to_vec()).unwrap(), count))
        })
    }

    #[test]
    fn the_role_alone_says_nothing() {
        let token = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"},\"finish_reason\":null}]}\n\n";
        let (head, tail) = ROLE.split_at(20);
        let both = format!("{ROLE}{token}");
        assert_eq!(read(&[head, tail, token, token]), Some((both.clone(), 3)));
        assert_eq!(read(&[&both, token]), Some((both, 1)));
        assert_eq!(read(&[ROLE]), None);
        let at_once = ROLE.replace("null", "\"stop\"");
        for said in [
            at_once.as_str(),
            token,
            "data: {\"choices\":[{\"index\":0,\"text\":\"a\",\"finish_reason\":null}]}\n\n",
            "data: {\"error\":{\"message\":\"no\"}}\n\n",
            "data: [DONE]\n\n",
        ] {
            assert_eq!(read(&[said, token]), Some((said.to_owned(), 1)));
        }
    }

    #[test]
    fn a_frame_without_end_is_not_held_for_ever() {
        let piece = "a".repeat(FRAME_MOST);
        assert_eq!(read(&[&piece]), None);
        assert_eq!(read(&[&piece, "a"]).map(|(_, count)| count), Some(2));
    }

    #[test]
    fn a_client_is_not_kept_waiting_without_a_sign() {
        let comment = ": keep-alive\n\n";
        let kept = format!("{ROLE}{comment}");
        assert_eq!(read(&[ROLE, comment, ROLE]), Some((kept, 2)));
    }
}
