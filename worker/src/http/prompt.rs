//! From a request to the tokens that the model continues.

use std::sync::Arc;

use http_front::Refusal;
use pool_core::serving::openai::Given;
use pool_core::serving::{ErrorCode, Input};

use super::Service;
use crate::engine::Refused;
use crate::text::Text;

/// Runs the tokenizer, with its own special tokens, which a raw prompt gets and a rendered conversation has already, unless
/// `add_special_tokens` says otherwise. A long prompt takes a while; the other connections do not wait for it.
pub(super) async fn tokenize(
    service: &Service,
    input: Input,
    add_special_tokens: Option<bool>,
) -> Result<Vec<u32>, Refusal> {
    let (text, _) = service.engine.text().ok_or(Refused::Loading)?;
    let field = field_of(&input);
    let turn = Arc::clone(&service.tokenizing).acquire_owned().await;
    let work = move || {
        // Held to the end of the work, which goes on when the client leaves.
        let _turn = turn;
        text.encode_with(&input, add_special_tokens)
    };
    let tokens = tokio::task::spawn_blocking(work).await;
    tokens
        .map_err(|_| Refusal::new(ErrorCode::Internal, "the prompt could not be tokenized"))?
        .map_err(|error| {
            let constraint = "text that the model's tokenizer and chat template accept";
            Refusal::field(field, constraint, error.to_string())
        })
}

/// The field that an input was given in.
pub(super) fn field_of(input: &Input) -> &'static str {
    match input {
        Input::Prompt(_) => "prompt",
        Input::Messages(_) => "messages",
    }
}

/// The tokens of what OpenAI's clients give, and the field that it was given in.
pub(super) async fn tokens_of(
    service: &Service,
    given: Given,
) -> Result<(&'static str, Vec<u32>), Refusal> {
    let (text, _): (Arc<Text>, _) = service.engine.text().ok_or(Refused::Loading)?;
    match given {
        Given::Tokens(tokens) if tokens.iter().all(|&id| text.has(id)) => Ok(("prompt", tokens)),
        Given::Tokens(_) => Err(Refusal::field(
            "prompt",
            "tokens of the model",
            "the model does not have all of its tokens".to_owned(),
        )),
        Given::Input(input) => {
            let field = field_of(&input);
            let tokens = tokenize(service, input, None).await?;
            Ok((field, tokens))
        }
    }
}

/// Tokens that the answer may have, or why prompt and answer do not fit the context.
pub(super) fn fit(
    field: &str,
    prompt: usize,
    max_tokens: Option<u32>,
    context: usize,
) -> Result<usize, Refusal> {
    let constraint = format!("with max_tokens at most {context} tokens, the context");
    let refuse = |message: String| Refusal::field(field, &constraint, message);
    if prompt == 0 {
        return Err(refuse("it has no tokens".to_owned()));
    }
    if prompt >= context {
        let message =
            format!("it has {prompt} tokens, which leaves no room in the context of {context}");
        return Err(refuse(message).context_exceeded());
    }
    let max_tokens = max_tokens.map_or(context - prompt, |max_tokens| max_tokens as usize);
    let total = prompt + max_tokens;
    if total > context {
        let message = format!(
            "it has {prompt} tokens, which is with max_tokens {max_tokens} together {total}: over the context of {context}"
        );
        return Err(refuse(message).context_exceeded());
    }
    Ok(max_tokens)
}
