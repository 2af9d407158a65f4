//! The answers of `POST /v1/completions`: in a stream each part has the same shape as the whole.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::{FinishReason, Usage};
use crate::name::ModelId;

/// An answer, or a part of it in a stream.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Completion {
    pub id: String,
    #[schemars(extend("const" = "text_completion"))]
    pub object: &'static str,
    /// Seconds since 1970.
    pub created: i64,
    pub model: ModelId,
    pub system_fingerprint: String,
    /// Empty in the part that carries the usage of a stream.
    pub choices: Vec<CompletionChoice>,
    /// In a stream only with `stream_options.include_usage`: null until the last part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
}

/// The one answer there is, or what a part adds to it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CompletionChoice {
    pub index: u32,
    pub text: String,
    pub logprobs: Option<CompletionLogprobs>,
    /// Null in a stream until the end.
    pub finish_reason: Option<FinishReason>,
}

/// How likely the tokens of an answer were: lists of the same length, natural logarithms of probabilities.
#[derive(Debug, Clone, Default, PartialEq, Serialize, JsonSchema)]
pub struct CompletionLogprobs {
    pub tokens: Vec<String>,
    pub token_logprobs: Vec<f32>,
    /// The likeliest tokens at each place, and the one that was chosen.
    pub top_logprobs: Vec<BTreeMap<String, f32>>,
    /// Characters of the answer before each token.
    pub text_offset: Vec<u64>,
}
