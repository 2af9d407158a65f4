//! The schemas of bodies, which are read by hand, and of answers, made from the types that are written.

use http_front::openapi::requests::{
    chat, chat_message, completion, inference, message, object, or_null, salt,
};
use http_front::openapi::{Schemas, answers};
use pool_core::registration::{Registered, Registration};
use pool_core::serving::openai::{
    ChatChunk, ChatCompletion, Completion, ModelCard, ModelList, OpenAiErrorBody,
};
use pool_core::serving::{ErrorBody, StreamEvent};
use serde_json::{Value, json};

use super::super::status::{Health, Ready};
use super::super::tasks::{Accepted, TaskState};
use super::super::workers::{Pools, Workers};
use crate::core::{Config, Explanation};

pub(super) fn schemas(model: &Value) -> Schemas {
    let mut generator = answers();
    generator.subschema_for::<Health>();
    generator.subschema_for::<Ready>();
    generator.subschema_for::<ErrorBody>();
    generator.subschema_for::<OpenAiErrorBody>();
    generator.subschema_for::<Accepted>();
    generator.subschema_for::<TaskState>();
    generator.subschema_for::<Explanation>();
    generator.subschema_for::<StreamEvent>();
    generator.subschema_for::<Workers>();
    generator.subschema_for::<Pools>();
    generator.subschema_for::<Registration>();
    generator.subschema_for::<Registered>();
    generator.subschema_for::<ChatCompletion>();
    generator.subschema_for::<ChatChunk>();
    generator.subschema_for::<Completion>();
    generator.subschema_for::<ModelCard>();
    generator.subschema_for::<ModelList>();
    let mut schemas = generator.take_definitions(true);
    let drain = json!({"worker": {"type": "string"}, "drained": {"type": "boolean"}});
    let queued = json!({
        "type": {"const": "queued"},
        "job_id": {"type": "string"},
        "queue_position": {"type": "integer", "minimum": 0},
    });
    let bodies = [
        (
            "Queued",
            object(&["type", "job_id", "queue_position"], queued),
        ),
        ("TaskRequest", task(model)),
        ("Message", message()),
        ("Drain", object(&["worker", "drained"], drain)),
        ("ChatMessageParam", chat_message()),
        ("ChatCompletionRequest", chat(model)),
        ("CompletionRequest", completion(model)),
    ];
    schemas.extend(bodies.map(|(name, schema)| (name.to_owned(), schema)));
    schemas
}

fn task(model: &Value) -> Value {
    let session = json!({"anyOf": [{"type": "null"}, salt()]});
    let most = Config::default().deadline_most_ms;
    let own = json!({
        "model": model,
        "priority": {"enum": ["interactive", "batch", null], "default": "interactive"},
        "session_id": session,
        "deadline_ms": or_null("integer", json!({
            "minimum": 1, "maximum": most,
            "description": "Milliseconds from its submission until it must have ended.",
        })),
    });
    inference(&["model"], own)
}
