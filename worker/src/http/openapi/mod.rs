//! `GET /openapi.json`: the whole contract as `OpenAPI` 3.1.
//!
//! | module | holds |
//! |---|---|
//! | `paths` | the endpoints |
//! | `requests` | the schemas of bodies |
//! | `answers` | the schemas of answers, made from their types |
//!
//! That it is true is tested by `schemathesis` against the real worker.

mod answers;
mod paths;
mod requests;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http_front::openapi::Description;
use pool_core::name::ModelId;
use serde_json::{Value, json};

use super::Service;

pub(super) async fn serve(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(document(&service.launch.model))
}

/// The contract of a worker that serves this model.
fn document(model: &ModelId) -> Value {
    let mut schemas = answers::schemas();
    schemas.extend(requests::schemas(model));
    let description = Description {
        title: "llm-worker-rbee",
        summary: "Serves one model on one device.",
        token: "Asked for where the worker was started with --token-file or RBEE_WORKER_TOKEN, or listens where others reach it.",
        tags: json!([
            {"name": "worker", "description": "What the worker says of itself, and its end."},
            {"name": "execute", "description": "Inference in the words of the fleet."},
            {"name": "openai", "description": "Inference in OpenAI's words."},
        ]),
        paths: paths::paths(model),
        schemas,
    };
    description.document()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document(&"tiny".parse().unwrap());
        let loose = http_front::openapi::loose_ends(&document);
        assert!(loose.is_empty(), "{loose:?}");
    }
}
