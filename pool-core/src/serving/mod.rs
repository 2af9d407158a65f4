//! The HTTP contract of the worker: what is asked, what is answered, how a stream is written and read.
//!
//! | module | holds |
//! |---|---|
//! | `request` | [`ExecuteRequest`], [`CancelRequest`], and the check that finds every [`Violation`] at once |
//! | `task` | [`TaskRequest`], what an orchestrator is asked |
//! | `event` | [`StreamEvent`], what a stream says |
//! | `sse` | [`Frame`] and [`SseParser`]: server-sent events as text, and back from bytes in any pieces |
//! | `check` | [`StreamCheck`]: whether a stream is whole |
//! | `status` | [`Health`] and [`Ready`] |
//! | `error` | [`ErrorBody`], the shape of every refusal that is not OpenAI's |
//! | [`openai`] | OpenAI's endpoints: their requests, answers and errors |

mod check;
mod error;
mod event;
mod fields;
pub mod openai;
mod request;
mod sse;
mod status;
mod task;

pub use check::{Answer, StreamCheck, StreamFault};
pub use error::{ErrorBody, ErrorCode, ErrorDetails};
pub use event::{End, Failure, FailureCode, StopReason, StreamEvent};
pub use request::{CancelRequest, ExecuteRequest, Input, Message, Sampling, Violation, Violations};
pub use sse::{Frame, KEEP_ALIVE, SseParser};
pub use status::{Health, MemoryUse, Phase, Ready, Slots};
pub use task::{Priority, TaskRequest};

/// The header that names one request through every part of the fleet.
pub const CORRELATION_HEADER: &str = "x-correlation-id";

/// Whether a text can be a correlation id: 1–64 letters, digits and `-`.
pub fn is_correlation_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}
