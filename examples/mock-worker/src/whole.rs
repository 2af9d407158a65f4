//! An answer in one document.

use std::future::{pending, poll_fn};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use pool_core::serving::openai::{
    ChatChoice, ChatCompletion, ChatMessage, CompletionChoice, Usage,
};
use pool_core::serving::{End, ErrorCode};

use crate::answer::Plan;
use crate::frames::text_of;
use crate::openai::{FINGERPRINT, OpenAi, Shape};
use crate::refusal::Refusal;
use crate::seen::Outcome;
use crate::shared::Turn;

/// Waits for the whole answer, or for its cancel.
pub(crate) async fn whole(turn: &Turn, openai: OpenAi, plan: &Plan) -> Result<Bytes, Refusal> {
    let cancelled = poll_fn(|cx| {
        if turn.job.poll_cancelled(cx) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    });
    tokio::select! {
        () = cancelled => {
            turn.job.end(Outcome::Cancelled);
            Err(Refusal::new(ErrorCode::Cancelled, "the request was cancelled"))
        }
        decoding = decode(turn, plan) => {
            turn.job.sent(plan.total);
            let text = text_of(plan.total, turn.shared.settings.token_bytes);
            Ok(document(openai, text, &plan.end(decoding)))
        }
    }
}

/// Takes as long as the tokens would.
async fn decode(turn: &Turn, plan: &Plan) -> Duration {
    let slots = turn.shared.slots.clone();
    let _slot = slots.acquire_owned().await;
    if plan.hang_after.is_some_and(|tokens| tokens < plan.total) {
        pending::<()>().await;
    }
    let time = plan.at(plan.total.saturating_sub(1));
    tokio::time::sleep(time).await;
    time
}

fn document(openai: OpenAi, text: String, end: &End) -> Bytes {
    let usage = Usage::from(end);
    let finish_reason = end.stop_reason.into();
    let json = match openai.shape {
        Shape::Chat => serde_json::to_vec(&ChatCompletion {
            id: openai.id,
            object: "chat.completion",
            created: openai.created,
            model: openai.model,
            system_fingerprint: FINGERPRINT.to_owned(),
            choices: vec![ChatChoice {
                index: 0,
                message: ChatMessage {
                    role: "assistant",
                    content: text,
                },
                logprobs: None,
                finish_reason,
            }],
            usage,
        }),
        Shape::Completion => {
            let mut completion = openai.completion();
            completion.usage = Some(Some(usage));
            completion.choices.push(CompletionChoice {
                index: 0,
                text,
                logprobs: None,
                finish_reason: Some(finish_reason),
            });
            serde_json::to_vec(&completion)
        }
    };
    // Text and numbers: nothing in an answer fails to be written.
    json.unwrap_or_default().into()
}
