//! `POST /tokenize`, as in vLLM.

use schemars::JsonSchema;
use serde::Serialize;

use super::request::read_message;
use crate::serving::request::{Input, Violations, object, read_input};

/// A text or a conversation to count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizeRequest {
    pub model: Option<String>,
    pub input: Input,
    /// Whether the tokenizer adds its own; by default for a prompt and not for messages, whose template has them.
    pub add_special_tokens: Option<bool>,
}

impl TokenizeRequest {
    /// Reads and checks a body.
    pub fn from_json(body: &[u8]) -> Result<Self, Violations> {
        let mut fields = object(body)?;
        let model = fields.optional("model", "the name of a model", |_: &String| true);
        let input = read_input(&mut fields, read_message);
        let add = fields.optional("add_special_tokens", "true or false", |_: &bool| true);
        fields
            .finish("model, prompt, messages, add_special_tokens")
            .none()?;
        Ok(Self {
            model,
            input,
            add_special_tokens: add,
        })
    }
}

/// What a text is to the model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Tokenized {
    pub tokens: Vec<u32>,
    pub count: u64,
    /// The context in tokens.
    pub max_model_len: u64,
}
