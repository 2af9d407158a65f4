//! The schemas of bodies. They say what `pool_core::serving` checks: `null` counts as absent, unknown fields are refused.
//!
//! Where a body names a model, `model` is the schema of that name.

use serde_json::{Value, json};

use super::reference;

/// An object with these fields and no others.
pub fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// Both objects' fields; the second wins.
pub fn and(mut all: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

/// The type may be absent: `null` says so.
pub fn or_null(kind: &str, more: Value) -> Value {
    and(json!({"type": [kind, "null"]}), more)
}

/// A text of 1 to 128 characters.
pub fn salt() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 128})
}

fn number(most: u32, default: f64) -> Value {
    or_null(
        "number",
        json!({"minimum": 0, "maximum": most, "default": default}),
    )
}

fn stop_text() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": 100})
}

fn max_tokens() -> Value {
    or_null("integer", json!({"minimum": 1, "maximum": u32::MAX}))
}

fn sampling() -> Value {
    json!({
        "temperature": number(2, 1.0),
        "top_p": number(1, 1.0),
        "min_p": number(1, 0.0),
        "repetition_penalty": number(2, 1.0),
        "cache_salt": or_null("string", json!({
            "minLength": 1, "maxLength": 128,
            "description": "What is computed for one salt is never used for another.",
        })),
    })
}

/// A prompt or messages, not both.
pub fn either(message: &str) -> Value {
    let prompt = json!({"type": "string", "minLength": 1});
    let messages = json!({"type": "array", "minItems": 1, "items": reference(message)});
    json!({"oneOf": [
        {"required": ["prompt"], "properties": {"prompt": prompt, "messages": {"type": "null"}}},
        {"required": ["messages"], "properties": {"messages": messages, "prompt": {"type": "null"}}},
    ]})
}

/// The body of `POST /execute`.
pub fn execute() -> Value {
    inference(&["job_id"], json!({"job_id": salt()}))
}

/// A prompt or messages, how they are continued, and more fields.
pub fn inference(required: &[&str], more: Value) -> Value {
    let own = json!({
        "prompt": or_null("string", json!({"minLength": 1})),
        "messages": or_null("array", json!({"minItems": 1, "items": reference("Message")})),
        "max_tokens": max_tokens(),
        "top_k": or_null("integer", json!({"minimum": 0, "maximum": u32::MAX, "default": 0})),
        "stop": or_null("array", json!({"maxItems": 4, "items": stop_text()})),
        "seed": or_null("integer", json!({"minimum": 0, "maximum": u64::MAX})),
    });
    let fields = object(required, and(and(sampling(), own), more));
    and(fields, either("Message"))
}

/// One turn of a conversation.
pub fn message() -> Value {
    turn(&json!({"type": "string"}), json!({}))
}

fn turn(content: &Value, more: Value) -> Value {
    let role = json!({"type": "string", "minLength": 1, "maxLength": 64});
    let fields = json!({"role": role, "content": content});
    object(&["role", "content"], and(fields, more))
}

/// One turn of a conversation in OpenAI's words.
pub fn chat_message() -> Value {
    let part = object(
        &["type", "text"],
        json!({"type": {"const": "text"}, "text": {"type": "string"}}),
    );
    let parts = json!({"type": "array", "minItems": 1, "items": part});
    let absent = json!({"type": "null"});
    let nothing = or_null("array", json!({"maxItems": 0}));
    let harmless = json!({
        "name": absent, "refusal": absent, "audio": absent, "function_call": absent,
        "tool_calls": nothing, "annotations": nothing,
    });
    turn(&json!({"anyOf": [{"type": "string"}, parts]}), harmless)
}

fn of_both(model: &Value) -> Value {
    let options = object(
        &[],
        json!({
            "include_usage": or_null("boolean", json!({})),
            "include_obfuscation": or_null("boolean", json!({})),
            "continuous_usage_stats": {"enum": [false, null]},
        }),
    );
    let own = json!({
        "model": model,
        "top_k": or_null("integer", json!({"minimum": -1, "maximum": u32::MAX, "default": 0})),
        "stop": {"anyOf": [
            {"type": "null"},
            stop_text(),
            {"type": "array", "maxItems": 4, "items": stop_text()},
        ]},
        "seed": or_null("integer", json!({"minimum": i64::MIN, "maximum": u64::MAX})),
        "stream": or_null("boolean", json!({"default": false})),
        "stream_options": {"anyOf": [{"type": "null"}, options]},
        "n": {"enum": [1, null]},
        "frequency_penalty": {"enum": [0, null]},
        "presence_penalty": {"enum": [0, null]},
        "logit_bias": or_null("object", json!({"maxProperties": 0})),
        "user": or_null("string", json!({})),
    });
    and(sampling(), own)
}

/// The body of `POST /v1/chat/completions`.
pub fn chat(model: &Value) -> Value {
    let text_only = object(&["type"], json!({"type": {"const": "text"}}));
    let choice = json!({"enum": ["none", "auto", null]});
    let nothing = or_null("array", json!({"maxItems": 0}));
    let absent = json!({"type": "null"});
    let own = json!({
        "messages": {"type": "array", "minItems": 1, "items": reference("ChatMessageParam")},
        "max_tokens": max_tokens(),
        "max_completion_tokens": max_tokens(),
        "logprobs": or_null("boolean", json!({"default": false})),
        "top_logprobs": or_null("integer", json!({
            "minimum": 0, "maximum": 20, "description": "More than 0 only with logprobs.",
        })),
        "safety_identifier": or_null("string", json!({})),
        "prompt_cache_key": or_null("string", json!({})),
        "metadata": or_null("object", json!({"additionalProperties": {"type": "string"}})),
        "store": {"enum": [false, null]},
        "response_format": {"anyOf": [{"type": "null"}, text_only]},
        "tools": nothing,
        "functions": nothing,
        "tool_choice": choice,
        "function_call": choice,
        "parallel_tool_calls": or_null("boolean", json!({})),
        "modalities": {"enum": [["text"], null]},
        "service_tier": {"enum": ["auto", "default", null]},
        "verbosity": {"enum": ["medium", null]},
        "reasoning_effort": {"enum": ["none", null]},
        "audio": absent,
        "prediction": absent,
        "web_search_options": absent,
    });
    object(&["model", "messages"], and(of_both(model), own))
}

/// The body of `POST /v1/completions`.
pub fn completion(model: &Value) -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let token = json!({"type": "integer", "minimum": 0, "maximum": u32::MAX});
    let tokens = json!({"type": "array", "minItems": 1, "items": token});
    let one = |item: &Value| json!({"type": "array", "minItems": 1, "maxItems": 1, "items": item});
    let own = json!({
        "prompt": {"anyOf": [text, tokens, one(&text), one(&tokens)]},
        "max_tokens": and(max_tokens(), json!({"default": 16})),
        "logprobs": or_null("integer", json!({"minimum": 0, "maximum": 5})),
        "best_of": {"enum": [1, null]},
        "echo": {"enum": [false, null]},
        "suffix": {"enum": ["", null]},
    });
    object(&["model", "prompt"], and(of_both(model), own))
}
