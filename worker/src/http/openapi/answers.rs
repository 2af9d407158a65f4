//! The schemas of answers, made from the types that are written.

use http_front::openapi::Schemas;
use pool_core::serving::openai::{
    ChatChunk, ChatCompletion, Completion, ModelCard, ModelList, OpenAiErrorBody, Tokenized,
};
use pool_core::serving::{ErrorBody, Health, Ready, StreamEvent};

pub(super) fn schemas() -> Schemas {
    let mut generator = http_front::openapi::answers();
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
