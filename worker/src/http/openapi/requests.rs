//! The schemas of bodies.

use http_front::openapi::requests::{
    and, chat, chat_message, completion, either, execute, message, object, or_null, salt,
};
use http_front::openapi::{Schemas, reference};
use pool_core::name::ModelId;
use serde_json::{Value, json};

pub(super) fn schemas(model: &ModelId) -> Schemas {
    let name = json!({"const": model, "description": "The name of the served model."});
    let schemas = [
        ("ExecuteRequest", execute()),
        (
            "CancelRequest",
            object(&["job_id"], json!({"job_id": salt()})),
        ),
        ("Message", message()),
        ("ChatMessageParam", chat_message()),
        ("ChatCompletionRequest", chat(&name)),
        ("CompletionRequest", completion(&name)),
        ("TokenizeRequest", tokenize(model)),
    ];
    schemas
        .map(|(name, schema)| (name.to_owned(), schema))
        .into_iter()
        .collect()
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
