//! The schemas of bodies. They say what `pool_core::serving` checks: `null` counts as absent, unknown fields are refused.

use pool_core::name::ModelId;
use serde_json::{Value, json};

use super::{Schemas, reference};

pub(super) fn schemas(model: &ModelId) -> Schemas {
    let schemas = [
        ("ExecuteRequest", execute()),
        (
            "CancelRequest",
            object(&["job_id"], json!({"job_id": salt()})),
        ),
        ("Message", message(json!({"type": "string"}), json!({}))),
        ("ChatMessageParam", chat_message()),
        ("ChatCompletionRequest", chat(model)),
        ("CompletionRequest", completion(model)),
        ("TokenizeRequest", tokenize(model)),
    ];
    schemas
        .map(|(name, schema)| (name.to_owned(), schema))
        .into_iter()
        .collect()
}

fn object(required: &[&str], properties: Value) -> Value {
    json!({
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": false,
    })
}

/// Both objects' fields; the second wins.
fn and(mut all: Value, more: Value) -> Value {
    if let (Value::Object(all), Value::Object(more)) = (&mut all, more) {
        all.extend(more);
    }
    all
}

/// The type may be absent: `null` says so.
fn or_null(kind: &str, more: Value) -> Value {
    and(json!({"type": [kind, "null"]}), more)
}

fn salt() -> Value {
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
fn either(message: &str) -> Value {
    let prompt = json!({"type": "string", "minLength": 1});
    let messages = json!({"type": "array", "minItems": 1, "items": reference(message)});
    json!({"oneOf": [
        {"required": ["prompt"], "properties": {"prompt": prompt, "messages": {"type": "null"}}},
        {"required": ["messages"], "properties": {"messages": messages, "prompt": {"type": "null"}}},
    ]})
}

fn execute() -> Value {
    let own = json!({
        "job_id": salt(),
        "prompt": or_null("string", json!({"minLength": 1})),
        "messages": or_null("array", json!({"minItems": 1, "items": reference("Message")})),
        "max_tokens": max_tokens(),
        "top_k": or_null("integer", json!({"minimum": 0, "maximum": u32::MAX, "default": 0})),
        "stop": or_null("array", json!({"maxItems": 4, "items": stop_text()})),
        "seed": or_null("integer", json!({"minimum": 0, "maximum": u64::MAX})),
    });
    let fields = object(&["job_id"], and(sampling(), own));
    and(fields, either("Message"))
}

fn message(content: Value, more: Value) -> Value {
    let role = json!({"type": "string", "minLength": 1, "maxLength": 64});
    let fields = json!({"role": role, "content": content});
    object(&["role", "content"], and(fields, more))
}

fn chat_message() -> Value {
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
    message(json!({"anyOf": [{"type": "string"}, parts]}), harmless)
}

fn of_both(model: &ModelId) -> Value {
    let options = object(
        &[],
        json!({
            "include_usage": or_null("boolean", json!({})),
            "include_obfuscation": or_null("boolean", json!({})),
            "continuous_usage_stats": {"enum": [false, null]},
        }),
    );
    let own = json!({
        "model": {"const": model, "description": "The name of the served model."},
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

fn chat(model: &ModelId) -> Value {
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

fn completion(model: &ModelId) -> Value {
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

fn tokenize(model: &ModelId) -> Value {
    let own = json!({
        "model": {"enum": [model, null], "description": "The name of the served model."},
        "prompt": or_null("string", json!({"minLength": 1})),
        "messages": or_null("array", json!({"minItems": 1, "items": reference("ChatMessageParam")})),
        "add_special_tokens": or_null("boolean", json!({
            "description": "By default true for a prompt, and false for messages: their template has them.",
        })),
    });
    and(object(&[], own), either("ChatMessageParam"))
}
