//! How many tokens a prompt has.

use http_front::Trace;
use hyper::StatusCode;
use pool_core::name::ModelId;
use pool_core::serving::Input;
use serde::Deserialize;
use serde_json::json;

use super::Orchestrator;
use crate::core::{Condition, TenantId};

/// Tokens that a chat template adds, at most, for each message.
const TEMPLATE: u64 = 64;

#[derive(Deserialize)]
struct Counted {
    count: u64,
}

/// Tokens of a prompt. A token has at least one byte: where even that fits the context of every worker, and the tenant may use
/// as many tokens as it likes, a guess will do, since what is charged at the end is what the worker counted. Else a worker is
/// asked.
pub async fn tokens_of(
    orchestrator: &Orchestrator,
    tenant: &TenantId,
    model: &ModelId,
    input: &Input,
    max_tokens: Option<u64>,
) -> u64 {
    let bytes = bytes(input);
    let guess = bytes / 4 + 8;
    let (is_exact, context, url) = orchestrator.ask(|core, _| {
        let workers = || core.workers().filter(|worker| worker.info.model == *model);
        let context = workers().map(|worker| worker.info.context_length).min();
        let ready = workers().find(|worker| worker.condition == Condition::Ready);
        let url = ready.map(|worker| worker.info.url.clone());
        (core.counts_tokens(tenant), context, url)
    });
    let most = bytes + TEMPLATE + max_tokens.unwrap_or(1);
    if !is_exact && context.is_none_or(|context| most <= context) {
        return guess;
    }
    match url {
        Some(url) => ask(orchestrator, &url, input).await.unwrap_or(guess),
        None => guess,
    }
}

fn bytes(input: &Input) -> u64 {
    let bytes = match input {
        Input::Prompt(text) => text.len(),
        Input::Messages(messages) => messages
            .iter()
            .map(|message| message.role.len() + message.content.len() + TEMPLATE as usize)
            .sum(),
    };
    bytes as u64
}

async fn ask(orchestrator: &Orchestrator, url: &str, input: &Input) -> Option<u64> {
    let body = match input {
        Input::Prompt(text) => json!({ "prompt": text }),
        Input::Messages(messages) => json!({ "messages": messages }),
    };
    let (body, trace) = (body.to_string().into(), Trace::default());
    let post = orchestrator
        .upstream
        .post(url, "/tokenize", body, "count", &trace);
    let asked = async { post.await.ok()?.whole().await.ok() };
    let limit = orchestrator.limits.probe;
    let (status, body) = tokio::time::timeout(limit, asked).await.ok()??;
    let counted: Counted =
        (status == StatusCode::OK).then(|| serde_json::from_slice(&body).ok())??;
    Some(counted.count)
}
