//! What the engine tells of a request, in OpenAI's words.

use std::fmt::Write as _;
use std::sync::Arc;

use pool_core::name::ModelId;
use pool_core::serving::openai::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatLogprobs, ChatMessage,
    ChatToken, ChatTopToken, Completion, CompletionChoice, CompletionLogprobs, DONE, FinishReason,
    OpenAiErrorBody, Usage, usage_comment,
};
use pool_core::serving::{End, StreamEvent};
use serde::Serialize;

use crate::engine::{TokenLogprob, Update};
use crate::text::Text;

/// Whose answers these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Chat,
    Completion,
}

impl Shape {
    /// How the ids of its answers begin.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl",
            Self::Completion => "cmpl",
        }
    }
}

/// One answer on its way.
pub(super) struct Talk {
    pub id: String,
    pub created: i64,
    pub model: ModelId,
    pub fingerprint: String,
    pub text: Arc<Text>,
    pub logprobs: bool,
    /// A stream ends with the usage.
    pub include_usage: bool,
    pub shape: Shape,
    /// Characters of the tokens that were told.
    pub offset: u64,
    /// Tokens that no piece of text has told yet.
    pub untold: Vec<TokenLogprob>,
}

impl Talk {
    /// Writes the frames of an update; of the last one also the end of the stream.
    pub fn frames(&mut self, update: Update, out: &mut String) {
        self.untold.extend(update.tokens);
        match update.event {
            StreamEvent::Started { .. } if self.shape == Shape::Chat => {
                let delta = ChatDelta {
                    role: Some("assistant"),
                    content: Some(String::new()),
                };
                self.chat_chunk(delta, None, None, out);
            }
            StreamEvent::Started { .. } | StreamEvent::Metrics { .. } => {}
            StreamEvent::Token { t, .. } => self.piece(t, None, out),
            StreamEvent::End(end) => {
                self.piece(String::new(), Some(end.stop_reason.into()), out);
                let usage = Usage::from(&end);
                if self.include_usage {
                    self.usage(usage, out);
                }
                out.push_str(&usage_comment(&usage));
                out.push_str(DONE);
            }
            StreamEvent::Error(failure) => {
                let error = failure.into();
                frame(&OpenAiErrorBody { error }, out);
                out.push_str(DONE);
            }
        }
    }

    /// The whole answer as one document.
    pub fn whole(&mut self, answer: String, end: &End) -> String {
        let usage = Usage::from(end);
        let finish_reason = end.stop_reason.into();
        match self.shape {
            Shape::Chat => json(&ChatCompletion {
                id: self.id.clone(),
                object: "chat.completion",
                created: self.created,
                model: self.model.clone(),
                system_fingerprint: self.fingerprint.clone(),
                choices: vec![ChatChoice {
                    index: 0,
                    message: ChatMessage {
                        role: "assistant",
                        content: answer,
                    },
                    logprobs: self.chat_logprobs(),
                    finish_reason,
                }],
                usage,
            }),
            Shape::Completion => {
                let logprobs = self.completion_logprobs();
                json(&Completion {
                    choices: vec![choice(answer, logprobs, Some(finish_reason))],
                    usage: Some(Some(usage)),
                    ..self.completion()
                })
            }
        }
    }

    fn piece(&mut self, t: String, finish: Option<FinishReason>, out: &mut String) {
        match self.shape {
            Shape::Chat => {
                let content = (finish.is_none() || !t.is_empty()).then_some(t);
                // Where nothing is left to tell, the end has no list of its own.
                let is_told = finish.is_some() && self.untold.is_empty();
                let logprobs = self.chat_logprobs().filter(|_| !is_told);
                let role = None;
                self.chat_chunk(ChatDelta { role, content }, logprobs, finish, out);
            }
            Shape::Completion => {
                let logprobs = self.completion_logprobs();
                let part = Completion {
                    choices: vec![choice(t, logprobs, finish)],
                    ..self.completion()
                };
                frame(&part, out);
            }
        }
    }

    fn usage(&self, usage: Usage, out: &mut String) {
        let usage = Some(Some(usage));
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

    fn chat_chunk(
        &self,
        delta: ChatDelta,
        logprobs: Option<ChatLogprobs>,
        finish_reason: Option<FinishReason>,
        out: &mut String,
    ) {
        let choice = ChatChunkChoice {
            index: 0,
            delta,
            logprobs,
            finish_reason,
        };
        let chunk = ChatChunk {
            choices: vec![choice],
            ..self.chat()
        };
        frame(&chunk, out);
    }

    fn chat(&self) -> ChatChunk {
        ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices: Vec::new(),
            usage: self.include_usage.then_some(None),
        }
    }

    fn completion(&self) -> Completion {
        Completion {
            id: self.id.clone(),
            object: "text_completion",
            created: self.created,
            model: self.model.clone(),
            system_fingerprint: self.fingerprint.clone(),
            choices: Vec::new(),
            usage: self.include_usage.then_some(None),
        }
    }

    fn chat_logprobs(&mut self) -> Option<ChatLogprobs> {
        let tokens = std::mem::take(&mut self.untold);
        let top = |&(id, logprob): &(u32, f32)| {
            let bytes = self.text.bytes(id);
            let token = lossy(&bytes);
            ChatTopToken {
                token,
                logprob,
                bytes,
            }
        };
        let token = |token: TokenLogprob| {
            let bytes = self.text.bytes(token.id);
            ChatToken {
                token: lossy(&bytes),
                logprob: token.logprob,
                bytes,
                top_logprobs: token.top.iter().map(top).collect(),
            }
        };
        let content = tokens.into_iter().map(token).collect();
        self.logprobs.then_some(ChatLogprobs { content })
    }

    fn completion_logprobs(&mut self) -> Option<CompletionLogprobs> {
        let mut told = CompletionLogprobs::default();
        for token in std::mem::take(&mut self.untold) {
            let word = lossy(&self.text.bytes(token.id));
            let chosen = (word.clone(), token.logprob);
            let others = token.top.iter().map(|&(id, logprob)| {
                let bytes = self.text.bytes(id);
                (lossy(&bytes), logprob)
            });
            told.top_logprobs
                .push(others.chain(std::iter::once(chosen)).collect());
            told.token_logprobs.push(token.logprob);
            told.text_offset.push(self.offset);
            self.offset += word.chars().count() as u64;
            told.tokens.push(word);
        }
        self.logprobs.then_some(told)
    }
}

fn choice(
    text: String,
    logprobs: Option<CompletionLogprobs>,
    finish_reason: Option<FinishReason>,
) -> CompletionChoice {
    CompletionChoice {
        index: 0,
        text,
        logprobs,
        finish_reason,
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn frame(value: &impl Serialize, out: &mut String) {
    let _ = write!(out, "data: {}\n\n", json(value));
}

/// Text and numbers: nothing in an answer fails to be written.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
