//! An answer in OpenAI's words.

use std::fmt::Write as _;

use bytes::{Bytes, BytesMut};
use pool_core::name::ModelId;
use pool_core::serving::openai::{
    ChatChunk, ChatChunkChoice, ChatDelta, Completion, CompletionChoice, DONE, FinishReason,
    OpenAiErrorBody, Usage, usage_comment,
};
use pool_core::serving::{End, Failure, StreamEvent};
use serde::Serialize;

use crate::faults::Malformed;
use crate::frames::write_token;

/// Stands for a token's text while its frame is prepared; no name of a model has braces.
const MARK: &str = "{token}";

/// Whose answers these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Chat,
    Completion,
}

/// An answer in OpenAI's words.
pub(crate) struct OpenAi {
    pub shape: Shape,
    pub id: String,
    pub created: i64,
    pub model: ModelId,
    pub include_usage: bool,
    /// What stands before and after the text of a token.
    around: (Bytes, Bytes),
}

impl OpenAi {
    pub fn new(
        shape: Shape,
        id: String,
        created: i64,
        model: ModelId,
        include_usage: bool,
    ) -> Self {
        let mut openai = Self {
            shape,
            id,
            created,
            model,
            include_usage,
            around: (Bytes::new(), Bytes::new()),
        };
        let mut frame = BytesMut::new();
        openai.piece(MARK.to_owned(), None, &mut frame);
        let frame = String::from_utf8_lossy(&frame);
        let (before, after) = frame.split_once(MARK).unwrap_or_default();
        openai.around = (
            Bytes::copy_from_slice(before.as_bytes()),
            Bytes::copy_from_slice(after.as_bytes()),
        );
        openai
    }

    pub fn started(&self, out: &mut BytesMut) {
        if self.shape == Shape::Chat {
            let delta = ChatDelta {
                role: Some("assistant"),
                content: Some(String::new()),
            };
            self.chunk(delta, None, out);
        }
    }

    pub fn token(
        &self,
        place: u64,
        bytes: usize,
        malformed: Option<Malformed>,
        out: &mut BytesMut,
    ) -> std::fmt::Result {
        let (before, after) = &self.around;
        match malformed {
            Some(Malformed::BadJson) => return out.write_str("data: {\"id\":\n\n"),
            Some(Malformed::WrongIndex) => {
                let text = String::from_utf8_lossy(before);
                out.write_str(&text.replace("\"index\":0", "\"index\":1"))?;
            }
            _ => out.extend_from_slice(before),
        }
        write_token(place, bytes, out)?;
        out.extend_from_slice(after);
        Ok(())
    }

    pub fn event(&self, event: &StreamEvent, out: &mut BytesMut) {
        match event {
            StreamEvent::End(end) => self.end(end, out),
            StreamEvent::Error(failure) => write_failure(failure, out),
            StreamEvent::Started { .. }
            | StreamEvent::Token { .. }
            | StreamEvent::Metrics { .. } => {}
        }
    }

    fn end(&self, end: &End, out: &mut BytesMut) {
        self.piece(String::new(), Some(end.stop_reason.into()), out);
        if self.include_usage {
            let usage = Some(Some(Usage::from(end)));
            match self.shape {
                Shape::Chat => frame(
                    &ChatChunk {
                        usage,
                        ..self.chat()
                    },
                    out,
                ),
                Shape::Completion => frame(
                    &Completion {
                        usage,
                        ..self.completion()
                    },
                    out,
                ),
            }
        }
        out.extend_from_slice(usage_comment(&Usage::from(end)).as_bytes());
        out.extend_from_slice(DONE.as_bytes());
    }

    fn piece(&self, text: String, finish: Option<FinishReason>, out: &mut BytesMut) {
        match self.shape {
            Shape::Chat => {
                let content = finish.is_none().then_some(text);
                self.chunk(
                    ChatDelta {
                        role: None,
                        content,
                    },
                    finish,
                    out,
                );
            }
            Shape::Completion => {
                let choice = CompletionChoice {
                    index: 0,
                    text,
                    logprobs: None,
                    finish_reason: finish,
                };
                let choices = vec![choice];
                frame(
                    &Completion {
                        choices,
                        ..self.completion()
                    },
                    out,
                );
            }
        }
    }

    fn chunk(&self, delta: ChatDelta, finish_reason: Option<FinishReason>, out: &mut BytesMut) {
        let choice = ChatChunkChoice {
            index: 0,
            delta,
            logprobs: None,
            finish_reason,
        };
        let choices = vec![choice];
        frame(
            &ChatChunk {
                choices,
                ..self.chat()
            },
            out,
        );
    }

    fn chat(&self) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: Vec::new(),
            usage: self.include_usage.then_some(None),
        }
    }

    pub fn completion(&self) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: Vec::new(),
            usage: self.include_usage.then_some(None),
        }
    }
}

/// Every worker of this kind gives the same answers.
pub(crate) const FINGERPRINT: &str = "fp_mock";

fn write_failure(failure: &Failure, out: &mut BytesMut) {
    let error = failure.clone().into();
    frame(&OpenAiErrorBody { error }, out);
    out.extend_from_slice(DONE.as_bytes());
}

fn frame(value: &impl Serialize, out: &mut BytesMut) {
    // Text and numbers: nothing in an answer fails to be written.
    let json = serde_json::to_string(value).unwrap_or_default();
    let _ = write!(out, "data: {json}\n\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prepared_chunk_is_the_chunk() {
        for shape in [Shape::Chat, Shape::Completion] {
            let openai = OpenAi::new(shape, "a".into(), 1, "tiny".parse().unwrap(), true);
            let (mut prepared, mut whole) = (BytesMut::new(), BytesMut::new());
            openai.token(3, 4, None, &mut prepared).unwrap();
            openai.piece(" 3..".into(), None, &mut whole);
            assert_eq!(prepared, whole);
        }
    }
}
