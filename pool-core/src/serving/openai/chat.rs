//! The answers of `POST /v1/chat/completions`.

use schemars::JsonSchema;
use serde::Serialize;

use super::{FinishReason, Usage};
use crate::name::ModelId;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatCompletion {
    pub id: String,
    #[schemars(extend("const" = "chat.completion"))]
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    pub model: ModelId,
    pub system_fingerprint: String,
    pub choices: Vec<ChatChoice>,
    pub usage: Usage,
}

/// The one answer there is.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChoice {
    pub index: u32,
    pub message: ChatMessage,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: FinishReason,
}

/// What the model said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChatMessage {
    #[schemars(extend("const" = "assistant"))]
    pub role: &'static str,
    pub content: String,
}

/// A part of an answer, in a stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChunk {
    pub id: String,
    #[schemars(extend("const" = "chat.completion.chunk"))]
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    pub model: ModelId,
    pub system_fingerprint: String,
    /// Empty in the chunk that carries the usage.
    pub choices: Vec<ChatChunkChoice>,
    /// With `stream_options.include_usage`: null until the last chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// What a chunk adds.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatChunkChoice {
    pub index: u32,
    pub delta: ChatDelta,
    pub logprobs: Option<ChatLogprobs>,
    pub finish_reason: Option<FinishReason>,
}

/// What a chunk adds to the message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ChatDelta {
    /// In the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// How likely the tokens of an answer were.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatLogprobs {
    pub content: Vec<ChatToken>,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatToken {
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes: a token need not be whole UTF-8.
    pub bytes: Vec<u8>,
    /// The likeliest tokens at its place, most likely first.
    pub top_logprobs: Vec<ChatTopToken>,
}

/// A token that could have been there.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct ChatTopToken {
    pub token: String,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    pub bytes: Vec<u8>,
}
