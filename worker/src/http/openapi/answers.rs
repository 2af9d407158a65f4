//! The schemas of answers, made from the types that are written.

use pool_core::serving::openai::{
    ChatChunk, ChatCompletion, Completion, ModelCard, ModelList, OpenAiErrorBody, Tokenized,
};
use pool_core::serving::{ErrorBody, Health, Ready, StreamEvent};
use schemars::generate::SchemaSettings;

use super::Schemas;

pub(super) fn schemas() -> Schemas {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut generator = settings
        .with(|settings| settings.definitions_path = "/components/schemas".into())
        .into_generator();
    generator.subschema_for::<Health>();
    generator.subschema_for::<Ready>();
    generator.subschema_for::<ErrorBody>();
    generator.subschema_for::<StreamEvent>();
    generator.subschema_for::<OpenAiErrorBody>();
    generator.subschema_for::<ChatCompletion>();
    generator.subschema_for::<ChatChunk>();
    generator.subschema_for::<Completion>();
    generator.subschema_for::<ModelCard>();
    generator.subschema_for::<ModelList>();
    generator.subschema_for::<Tokenized>();
    generator.take_definitions(true)
}
