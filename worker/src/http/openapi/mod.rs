//! `GET /openapi.json`: the whole contract as `OpenAPI` 3.1.
//!
//! | module | holds |
//! |---|---|
//! | `paths` | the endpoints |
//! | `requests` | the schemas of bodies, which are read by hand |
//! | `answers` | the schemas of answers, made from their types |
//!
//! That it is true is tested by `schemathesis` against the real worker.

mod answers;
mod paths;
mod requests;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use pool_core::name::ModelId;
use serde_json::{Map, Value, json};

use super::Service;

pub(super) async fn serve(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(document(&service.launch.model))
}

/// The contract of a worker that serves this model.
fn document(model: &ModelId) -> Value {
    let mut schemas = answers::schemas();
    schemas.extend(requests::schemas(model));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "llm-worker-rbee",
            "summary": "Serves one model on one device.",
            "description": "Streams are server-sent events; the schema of a text/event-stream is that of one event.",
            "version": pool_core::VERSION,
            "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [
            {"name": "worker", "description": "What the worker says of itself, and its end."},
            {"name": "execute", "description": "Inference in the words of the fleet."},
            {"name": "openai", "description": "Inference in OpenAI's words."},
        ],
        "paths": paths::paths(model),
        "components": {
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Asked for where the worker was started with --token-file or RBEE_WORKER_TOKEN.",
                },
            },
            "headers": headers(),
            "schemas": schemas,
        },
    })
}

fn headers() -> Value {
    let whole = |description: &str, least: u64| {
        let schema = json!({"type": "integer", "minimum": least});
        json!({"description": description, "required": false, "schema": schema})
    };
    json!({
        "Correlation": {
            "description": "The id of the request: the client's own, if it sent one in this header that is one, else another.",
            "required": true,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
        },
        "RetryAfter": whole("Seconds until the request may be sent again.", 1),
        "RetryAfterMs": whole("The same in milliseconds.", 1),
        "Allow": {
            "description": "The methods that the endpoint has.",
            "required": true,
            "schema": {"type": "string"},
        },
        "Authenticate": {
            "description": "How to show a token.",
            "required": true,
            "schema": {"const": "Bearer"},
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

type Schemas = Map<String, Value>;

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference of a document.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                found.extend(
                    object
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                object.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document(&"tiny".parse().unwrap());
        let mut found = Vec::new();
        references(&document, &mut found);
        for reference in &found {
            let pointer = reference.trim_start_matches('#');
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
        for name in document["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
        {
            let used = format!("#/components/schemas/{name}");
            assert!(found.contains(&used), "{name}");
        }
    }
}
