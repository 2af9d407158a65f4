//! `GET /openapi.json`: the whole contract as `OpenAPI` 3.1.
//!
//! | module | holds |
//! |---|---|
//! | `paths` | the endpoints |
//! | `schemas` | what is sent and answered |
//!
//! That it is true is tested by `schemathesis` against the real orchestrator.

mod paths;
mod schemas;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http_front::openapi::Description;
use pool_core::name::ModelId;
use serde_json::{Value, json};

use crate::daemon::Orchestrator;

pub async fn serve(State(orchestrator): State<Arc<Orchestrator>>) -> Json<Value> {
    let models: Vec<ModelId> =
        orchestrator.ask(|core, _| core.models().map(|(id, _)| id.clone()).collect());
    Json(document(&models))
}

/// The contract of an orchestrator whose fleet has these models.
fn document(models: &[ModelId]) -> Value {
    let description = "The name of a model of the fleet.";
    let model = match models {
        [] => json!({"type": "string", "description": description}),
        names => json!({"enum": names, "description": description}),
    };
    let description = Description {
        title: "orchestratord",
        summary: "Admits, queues and routes requests to the workers of a fleet.",
        token: "Asked for where the orchestrator was started with --token-file, --link-file or --tenants.",
        tags: json!([
            {"name": "tasks", "description": "Inference that outlives its connection."},
            {"name": "openai", "description": "Inference in OpenAI's words."},
            {"name": "fleet", "description": "The workers, and what the orchestrator says of itself."},
        ]),
        paths: paths::paths(&model),
        schemas: schemas::schemas(&model),
    };
    description.document()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        for models in [vec![], vec!["tiny".parse().unwrap()]] {
            let loose = http_front::openapi::loose_ends(&document(&models));
            assert!(loose.is_empty(), "{loose:?}");
        }
    }
}
