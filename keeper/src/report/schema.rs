//! The JSON Schemas of what `--json` and `--json-stream` print.

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use super::document::PlanDocument;
use super::drift::DriftDocument;
use super::outcome::Report;
use super::status::StatusDocument;
use super::support::Results;
use crate::failure::ErrorDocument;
use crate::progress::event::Event;

/// Of the document of `plan --json` and `show --json`.
pub fn plan() -> Value {
    of::<PlanDocument>()
}

/// Of the document of `apply --json` and `destroy --json`.
pub fn apply() -> Value {
    of::<Report>()
}

/// Of the document of `drift --json`.
pub fn drift() -> Value {
    of::<DriftDocument>()
}

/// Of the document of `test --json`.
pub fn test() -> Value {
    of::<Results>()
}

/// Of the document that a command prints with `--json` in place of its own when it fails as a whole.
pub fn error() -> Value {
    of::<ErrorDocument>()
}

/// Of each line of `--json-stream`.
pub fn stream() -> Value {
    of::<Event>()
}

/// Of the document of `status --json`.
pub fn status() -> Value {
    of::<StatusDocument>()
}

fn of<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft07().for_serialize().into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    // Names such as `uint32` are Rust's, and some readers warn of formats they do not know.
    RecursiveTransform(|schema: &mut Schema| {
        schema.remove("format");
    })
    .transform(&mut schema);
    schema.to_value()
}
