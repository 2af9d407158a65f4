//! What the descriptions of services (`OpenAPI` 3.1) have in common.
//!
//! | module | holds |
//! |---|---|
//! | `operation` | what an operation takes and answers |
//! | `requests` | the schemas of bodies, which are read by hand |

pub mod operation;
pub mod requests;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

/// What there is to say of a service.
#[derive(Debug)]
pub struct Description {
    pub title: &'static str,
    pub summary: &'static str,
    /// When a token is asked for.
    pub token: &'static str,
    pub tags: Value,
    pub paths: Value,
    pub schemas: Schemas,
}

impl Description {
    pub fn document(self) -> Value {
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": self.title,
                "summary": self.summary,
                "description": "Streams are server-sent events; the schema of a text/event-stream is that of one event.",
                "version": pool_core::VERSION,
                "license": {"name": "MIT OR Apache-2.0", "identifier": "MIT OR Apache-2.0"},
            },
            "servers": [{"url": "/"}],
            "security": [{"token": []}],
            "tags": self.tags,
            "paths": self.paths,
            "components": {
                "securitySchemes": {
                    "token": {"type": "http", "scheme": "bearer", "description": self.token},
                },
                "headers": headers(),
                "schemas": self.schemas,
            },
        })
    }
}

/// Makes the schemas of answers from the types that are written.
pub fn answers() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let settings =
        settings.with(|settings| settings.definitions_path = "/components/schemas".into());
    settings.into_generator()
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

/// The schema of this name.
pub fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// Schemas by their names.
pub type Schemas = Map<String, Value>;

/// References of a document that lead nowhere, and schemas that nothing refers to.
pub fn loose_ends(document: &Value) -> Vec<String> {
    let mut found = Vec::new();
    references(document, &mut found);
    let leads = |reference: &String| {
        document
            .pointer(reference.trim_start_matches('#'))
            .is_some()
    };
    let mut loose: Vec<String> = found
        .iter()
        .filter(|found| !leads(found))
        .cloned()
        .collect();
    let schemas = document["components"]["schemas"].as_object();
    let names = schemas.into_iter().flat_map(Map::keys);
    let all = names.map(|name| format!("#/components/schemas/{name}"));
    loose.extend(all.filter(|schema| !found.contains(schema)));
    loose
}

fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            let reference = object.get("$ref").and_then(Value::as_str);
            found.extend(reference.map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}
