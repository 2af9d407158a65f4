//! The format of fleet.yaml as JSON Schema, for editors.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use serde_json::Value;

use super::Fleet;

/// JSON Schema, draft 7, of fleet.yaml. It accepts every file that [`super::parse`] does, and
/// cannot see what one part of a file says of another.
pub fn schema() -> Value {
    let generator = SchemaSettings::draft07().into_generator();
    let mut schema = generator.into_root_schema_for::<Fleet>();
    // Names such as `uint32` are Rust's, and some editors warn of formats they do not know.
    RecursiveTransform(|schema: &mut Schema| {
        schema.remove("format");
    })
    .transform(&mut schema);
    schema.to_value()
}

#[cfg(test)]
mod tests;
