//! The bodies of `POST /v1/chat/completions` and `POST /v1/completions`.

use serde_json::Value;

use super::harmless;
use crate::serving::fields::{self, Fields};
use crate::serving::request::{
    self, Input, Message, STOP, Sampling, Violations, is_stop, object, read_cache_salt,
    read_messages, read_role,
};

/// One inference, asked in OpenAI's words.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// The name of the model; whether it is served here is not checked.
    pub model: String,
    pub given: Given,
    /// At least 1; for chat what the context leaves when absent.
    pub max_tokens: Option<u32>,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    /// Tell how likely the tokens were, and as many of the likeliest at each place.
    pub logprobs: Option<usize>,
    pub stream: bool,
    /// A stream ends with the usage.
    pub include_usage: bool,
    pub cache_salt: Option<String>,
}

/// What the model continues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Given {
    Input(Input),
    /// Tokens of the model, at least one.
    Tokens(Vec<u32>),
}

/// Tokens of a completion when the request does not say.
const COMPLETION_TOKENS: u32 = 16;

impl GenerateRequest {
    /// Reads and checks the body of `POST /v1/chat/completions`.
    pub fn chat_from_json(body: &[u8]) -> Result<Self, Violations> {
        let mut fields = object(body)?;
        let given = read_chat(&mut fields);
        let max_tokens = read_chat_max_tokens(&mut fields);
        let logprobs = read_chat_logprobs(&mut fields);
        harmless::of_chat(&mut fields);
        let known = "model, messages, max_tokens, max_completion_tokens, temperature, top_p, top_k, min_p, repetition_penalty, stop, seed, stream, stream_options, logprobs, top_logprobs, cache_salt";
        Self::read(fields, given, max_tokens, logprobs, known)
    }

    /// Reads and checks the body of `POST /v1/completions`.
    pub fn completion_from_json(body: &[u8]) -> Result<Self, Violations> {
        let mut fields = object(body)?;
        let given = read_prompt(&mut fields);
        let max_tokens = read_max_tokens(&mut fields, "max_tokens");
        let logprobs = fields.optional("logprobs", "a whole number from 0 to 5", |&n| n <= 5_usize);
        harmless::of_completions(&mut fields);
        let known = "model, prompt, max_tokens, temperature, top_p, top_k, min_p, repetition_penalty, stop, seed, stream, stream_options, logprobs, cache_salt";
        Self::read(fields, given, max_tokens, logprobs, known)
    }

    /// Tokens that a completion has when the request does not say and the context leaves room.
    pub fn default_completion_tokens() -> u32 {
        COMPLETION_TOKENS
    }

    fn read(
        mut fields: Fields,
        given: Option<Given>,
        max_tokens: Option<u32>,
        logprobs: Option<usize>,
        known: &str,
    ) -> Result<Self, Violations> {
        let model = read_model(&mut fields);
        let top_k = read_top_k(&mut fields);
        let sampling = Sampling {
            top_k,
            seed: read_seed(&mut fields),
            ..request::read_sampling(&mut fields)
        };
        let stop = read_stop(&mut fields);
        let stream = fields.optional("stream", "true or false", |_: &bool| true);
        let include_usage = read_stream_options(&mut fields);
        let cache_salt = read_cache_salt(&mut fields);
        harmless::of_both(&mut fields);
        fields.finish(known).none()?;
        Ok(Self {
            model,
            given: given.unwrap_or(Given::Tokens(Vec::new())),
            max_tokens,
            sampling,
            stop,
            logprobs,
            stream: stream.unwrap_or_default(),
            include_usage,
            cache_salt,
        })
    }
}

fn read_model(fields: &mut Fields) -> String {
    let model = fields.required("model", "the name of a model", |_: &String| true);
    model.unwrap_or_default()
}

fn read_chat(fields: &mut Fields) -> Option<Given> {
    let constraint = "a list of at least one {role, content}";
    let Some(value) = fields.take("messages") else {
        fields.violate(
            "messages",
            constraint,
            format!("it is missing: {constraint}"),
        );
        return None;
    };
    let messages = read_messages(fields, value, read_message)?;
    Some(Given::Input(Input::Messages(messages)))
}

/// A message whose content is a text or a list of parts, all of them texts.
pub(super) fn read_message(item: &mut Fields) -> Option<Message> {
    let role = read_role(item);
    let content = read_content(item);
    harmless::of_message(item);
    role.zip(content)
        .map(|(role, content)| Message { role, content })
}

fn read_content(item: &mut Fields) -> Option<String> {
    let constraint = "a text, or a list of {\"type\": \"text\", \"text\": …}";
    let content = match item.take("content") {
        Some(Value::String(text)) => Some(text),
        Some(Value::Array(parts)) if !parts.is_empty() => {
            let texts: Option<Vec<String>> = parts.into_iter().map(part).collect();
            texts.map(|texts| texts.join("\n"))
        }
        _ => None,
    };
    if content.is_none() {
        item.violate("content", constraint, format!("it must be {constraint}"));
    }
    content
}

fn part(value: Value) -> Option<String> {
    let Value::Object(mut part) = value else {
        return None;
    };
    let is_text = part.len() == 2 && part.get("type")? == "text";
    match part.remove("text")? {
        Value::String(text) if is_text => Some(text),
        _ => None,
    }
}

/// A text, a list of one text, or a list of tokens, bare or in a list of one.
fn read_prompt(fields: &mut Fields) -> Option<Given> {
    let constraint = "a text of at least 1 character, a list with one, or a list of tokens";
    let value = fields.take("prompt");
    let given = match value {
        Some(Value::Array(mut items)) => match items.first() {
            Some(Value::Number(_)) => tokens(&items),
            Some(_) if items.len() == 1 => match items.remove(0) {
                Value::Array(inner) => tokens(&inner),
                other => text(other),
            },
            _ => None,
        },
        Some(other) => text(other),
        None => None,
    };
    if given.is_none() {
        fields.violate("prompt", constraint, format!("it must be {constraint}"));
    }
    given
}

fn text(value: Value) -> Option<Given> {
    match value {
        Value::String(text) if !text.is_empty() => Some(Given::Input(Input::Prompt(text))),
        _ => None,
    }
}

fn tokens(items: &[Value]) -> Option<Given> {
    let ids: Option<Vec<u32>> = items
        .iter()
        .map(|item| {
            let whole = fields::whole(item);
            u32::try_from(whole.as_ref().unwrap_or(item).as_u64()?).ok()
        })
        .collect();
    ids.filter(|ids| !ids.is_empty()).map(Given::Tokens)
}

fn read_max_tokens(fields: &mut Fields, field: &str) -> Option<u32> {
    fields.optional(field, "a whole number, at least 1", |&n| n >= 1_u32)
}

fn read_chat_max_tokens(fields: &mut Fields) -> Option<u32> {
    let old = read_max_tokens(fields, "max_tokens");
    let current = read_max_tokens(fields, "max_completion_tokens");
    if old.is_some() && current.is_some() && old != current {
        fields.violate(
            "max_tokens",
            "equal to max_completion_tokens where both are given",
            "it is another number than max_completion_tokens".to_owned(),
        );
    }
    current.or(old)
}

fn read_chat_logprobs(fields: &mut Fields) -> Option<usize> {
    let wanted = fields.optional("logprobs", "true or false", |_: &bool| true);
    let constraint = "a whole number from 0 to 20";
    let top = fields.optional("top_logprobs", constraint, |&n| n <= 20_usize);
    if wanted != Some(true) && top.is_some_and(|top| top > 0) {
        fields.violate(
            "top_logprobs",
            "0 where logprobs is not true",
            "it needs logprobs to be true".to_owned(),
        );
    }
    (wanted == Some(true)).then(|| top.unwrap_or(0))
}

/// As in vLLM, where -1 is off too.
fn read_top_k(fields: &mut Fields) -> u32 {
    let constraint = "a whole number, 0 or -1 for off";
    let fits = |&n: &i64| (-1..=i64::from(u32::MAX)).contains(&n);
    let top_k = fields.optional("top_k", constraint, fits);
    top_k.map_or(0, |top_k| u32::try_from(top_k).unwrap_or(0))
}

/// A negative seed is as good as another.
fn read_seed(fields: &mut Fields) -> Option<u64> {
    let constraint = "a whole number from -9223372036854775808 to 18446744073709551615";
    let fits = |value: &Value| value.is_i64() || value.is_u64();
    let seed: Value = fields.optional("seed", constraint, fits)?;
    seed.as_u64()
        .or_else(|| seed.as_i64().map(i64::cast_unsigned))
}

fn read_stop(fields: &mut Fields) -> Vec<String> {
    let stop = match fields.take("stop") {
        None => return Vec::new(),
        Some(Value::String(text)) => Some(vec![text]),
        Some(Value::Array(items)) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Some(text),
                _ => None,
            })
            .collect(),
        Some(_) => None,
    };
    stop.filter(|stop| is_stop(stop)).unwrap_or_else(|| {
        let constraint = format!("a text of 1 to 100 characters, or {STOP}");
        fields.violate("stop", &constraint, format!("it must be {constraint}"));
        Vec::new()
    })
}

fn read_stream_options(fields: &mut Fields) -> bool {
    let mut options = match fields.take("stream_options") {
        None => return false,
        Some(Value::Object(options)) => Fields::new(options, "stream_options.".to_owned()),
        Some(_) => {
            let constraint = "an object with include_usage";
            fields.violate(
                "stream_options",
                constraint,
                format!("it must be {constraint}"),
            );
            return false;
        }
    };
    let include = options.optional("include_usage", "true or false", |_: &bool| true);
    options.harmless("include_obfuscation", "true or false", Value::is_boolean);
    options.harmless("continuous_usage_stats", "false", |value| value == false);
    fields.extend(options.finish("include_usage"));
    include.unwrap_or_default()
}

#[cfg(test)]
mod tests;
