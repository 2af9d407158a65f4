//! OpenAI's endpoints: what is asked, what is answered, how a refusal looks.
//!
//! | module | holds |
//! |---|---|
//! | `request` | [`GenerateRequest`]: the body of chat completions and of completions, checked |
//! | `harmless` | fields that clients send and that change nothing |
//! | `tokenize` | [`TokenizeRequest`] and its answer |
//! | `chat` | the answers of chat completions, whole and in chunks |
//! | `completion` | the answers of completions |
//! | `error` | [`OpenAiError`], the shape of every refusal under `/v1/` |
//!
//! Source: OpenAI's API reference; `top_k`, `min_p`, `repetition_penalty`, `cache_salt` and `/tokenize` as in vLLM.

mod chat;
mod completion;
mod error;
mod harmless;
mod request;
mod tokenize;

use schemars::JsonSchema;
use serde::Serialize;

use super::{End, StopReason};
use crate::name::ModelId;

pub use chat::{
    ChatChoice, ChatChunk, ChatChunkChoice, ChatCompletion, ChatDelta, ChatLogprobs, ChatMessage,
    ChatToken, ChatTopToken,
};
pub use completion::{Completion, CompletionChoice, CompletionLogprobs};
pub use error::{OpenAiError, OpenAiErrorBody};
pub use request::{GenerateRequest, Given};
pub use tokenize::{TokenizeRequest, Tokenized};

/// Ends every stream of OpenAI's.
pub const DONE: &str = "data: [DONE]\n\n";

/// Tokens of a prompt and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Usage {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub total_tokens: u64,
    pub prompt_tokens_details: PromptTokens,
}

/// What is known of the tokens of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PromptTokens {
    /// Those whose keys and values were there from earlier requests.
    pub cached_tokens: u64,
}

impl From<&End> for Usage {
    fn from(end: &End) -> Self {
        Self {
            prompt_tokens: end.tokens_in,
            completion_tokens: end.tokens_out,
            total_tokens: end.tokens_in + end.tokens_out,
            prompt_tokens_details: PromptTokens {
                cached_tokens: end.tokens_cached,
            },
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The model ended it, or it reached a text of `stop`.
    Stop,
    /// It has as many tokens as were asked for, or as the context holds.
    Length,
}

impl From<StopReason> for FinishReason {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::Eos | StopReason::StopSequence => Self::Stop,
            StopReason::MaxTokens => Self::Length,
        }
    }
}

/// A comment of a stream, before [`DONE`]: what the answer took, for whoever passes the stream on without reading it.
pub fn usage_comment(usage: &Usage) -> String {
    let Usage {
        prompt_tokens,
        completion_tokens,
        ..
    } = usage;
    format!("{USAGE}{prompt_tokens} {completion_tokens}\n\n")
}

/// Tokens of the prompt and of the answer, where these whole frames have a [`usage_comment`].
pub fn usage_in(frames: &[u8]) -> Option<(u64, u64)> {
    let lines = frames.split(|&byte| byte == b'\n');
    let mut told = lines.filter_map(|line| line.strip_prefix(USAGE.as_bytes()));
    let told = std::str::from_utf8(told.next_back()?).ok()?;
    let (prompt, answer) = told.trim_end().split_once(' ')?;
    Some((prompt.parse().ok()?, answer.parse().ok()?))
}

const USAGE: &str = ": usage ";

/// A model, as `GET /v1/models` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelCard {
    pub id: ModelId,
    #[schemars(extend("const" = "model"))]
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    pub owned_by: &'static str,
    /// The context in tokens; absent while the model loads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_model_len: Option<u64>,
}

/// The answer of `GET /v1/models`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ModelList {
    #[schemars(extend("const" = "list"))]
    pub object: &'static str,
    pub data: Vec<ModelCard>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usage_is_read_back_and_no_text_of_an_answer_is_taken_for_it() {
        let usage = Usage {
            prompt_tokens: 17,
            completion_tokens: 2,
            total_tokens: 19,
            prompt_tokens_details: PromptTokens { cached_tokens: 0 },
        };
        let stream = format!(
            "data: {{\"a\":\": usage 1 1\"}}\n\n{}{DONE}",
            usage_comment(&usage)
        );
        assert_eq!(usage_in(stream.as_bytes()), Some((17, 2)));
        assert_eq!(
            usage_in(stream.replace('\n', "\r\n").as_bytes()),
            Some((17, 2))
        );
        assert_eq!(usage_in(b"data: {\"t\":\": usage 1 1\"}\n\n"), None);
        assert_eq!(usage_in(b": usage many\n\n"), None);
    }
}
