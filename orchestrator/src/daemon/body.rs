//! From what a client asks to what the core decides about.

use std::hash::{DefaultHasher, Hash, Hasher};

use pool_core::name::ModelId;
use pool_core::serving::openai::{GenerateRequest, Given};
use pool_core::serving::{Input, TaskRequest};

use crate::core::{NewTask, Priority, TaskId, TenantId};

/// Beginnings of a prompt that are compared, in bytes: workers know those that they computed lately.
const PREFIXES: [usize; 6] = [128, 256, 512, 1024, 4096, 16384];

/// A task of `/v2`; none where its model cannot be the name of one.
pub fn new_task(
    request: &TaskRequest,
    id: TaskId,
    tenant: TenantId,
    tokens_in: u64,
) -> Option<NewTask> {
    let text = text(&request.inference.input);
    let own = (&tenant, &request.inference.cache_salt);
    Some(NewTask {
        model: request.model.parse().ok()?,
        class: request.priority,
        tokens_in,
        max_tokens: request.inference.max_tokens.map(u64::from),
        session: request
            .session_id
            .as_ref()
            .map(|session| hash((&tenant, session))),
        prefixes: prefixes(&own, &text),
        deadline_ms: request.deadline.map(|deadline| deadline.as_millis() as u64),
        request: hash((&tenant, &request.model, &text, request.inference.max_tokens)),
        id,
        tenant,
    })
}

/// A request in OpenAI's words.
pub fn new_generation(
    request: &GenerateRequest,
    model: ModelId,
    id: TaskId,
    tenant: TenantId,
    tokens_in: u64,
) -> NewTask {
    let text = match &request.given {
        Given::Input(input) => text(input),
        Given::Tokens(tokens) => tokens
            .iter()
            .flat_map(|token| token.to_le_bytes())
            .collect(),
    };
    let own = (&tenant, &request.cache_salt);
    NewTask {
        class: Priority::Interactive,
        tokens_in,
        max_tokens: request.max_tokens.map(u64::from),
        session: None,
        prefixes: prefixes(&own, &text),
        deadline_ms: None,
        request: hash((&tenant, &model, &text, request.max_tokens)),
        id,
        tenant,
        model,
    }
}

/// The prompt as bytes that begin alike where prompts do.
fn text(input: &Input) -> Vec<u8> {
    match input {
        Input::Prompt(text) => text.as_bytes().to_vec(),
        Input::Messages(messages) => {
            let parts = messages
                .iter()
                .flat_map(|message| [&message.role, &message.content]);
            parts.flat_map(|part| part.bytes().chain([0])).collect()
        }
    }
}

fn prefixes(own: &impl Hash, text: &[u8]) -> Vec<u64> {
    let lengths = PREFIXES.into_iter().filter(|&length| length <= text.len());
    lengths.map(|length| hash((own, &text[..length]))).collect()
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}
