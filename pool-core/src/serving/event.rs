//! What a stream of `POST /execute` says.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::sse::Frame;
use crate::name::ModelId;

/// One event of a stream: `started`, then `token`s with `metrics` between, then `end` or `error`.
///
/// The field `type` of its JSON is the event's name in the stream. A request that ends before it got its turn has
/// an `error` and nothing else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamEvent {
    /// The request has its slot.
    Started {
        job_id: String,
        model: ModelId,
        /// The seed of this answer, given or chosen.
        seed: u64,
        started_at: Timestamp,
    },
    /// A piece of the answer.
    Token {
        /// Whole UTF-8, never empty.
        t: String,
        /// Counts the pieces from 0. A character may take several of the model's tokens, so
        /// [`End::tokens_out`] can be higher.
        i: u64,
    },
    Metrics {
        tokens_out: u64,
        decode_time_ms: f64,
        /// Bytes that the worker holds for weights and context.
        memory_bytes: u64,
    },
    End(End),
    Error(Failure),
}

impl StreamEvent {
    /// The name of the event in the stream.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "started",
            Self::Token { .. } => "token",
            Self::Metrics { .. } => "metrics",
            Self::End(_) => "end",
            Self::Error(_) => "error",
        }
    }

    /// Nothing follows it.
    pub fn is_terminal(&self) -> bool {
        matches!(self, Self::End(_) | Self::Error(_))
    }

    /// The event as the frame number `id` of its stream.
    pub fn to_frame(&self, id: u64) -> Frame {
        Frame {
            event: self.name().to_owned(),
            id: Some(id.to_string()),
            data: serde_json::to_string(self).unwrap_or_default(),
        }
    }
}

/// How an answer ended well.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// Tokens of the prompt, with everything that the chat template and the tokenizer added.
    pub tokens_in: u64,
    /// Of them, those whose keys and values were there from earlier requests.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tokens_cached: u64,
    /// Tokens of the answer, without the one that ended it.
    pub tokens_out: u64,
    /// Milliseconds until the first token was known.
    pub prefill_time_ms: f64,
    /// Milliseconds from then on.
    pub decode_time_ms: f64,
    pub stop_reason: StopReason,
    /// The text of `stop` that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_sequence: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl End {
    /// Tokens a second after the first one; none when there was no second.
    pub fn tokens_per_second(&self) -> Option<f64> {
        let tokens = self.tokens_out.saturating_sub(1);
        (tokens > 0 && self.decode_time_ms > 0.0)
            .then(|| tokens as f64 * 1000.0 / self.decode_time_ms)
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StopReason {
    /// The model ended it.
    Eos,
    /// It has as many tokens as were asked for, or as the context holds.
    MaxTokens,
    /// It reached a text of `stop`.
    StopSequence,
}

impl StopReason {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Eos => "EOS",
            Self::MaxTokens => "MAX_TOKENS",
            Self::StopSequence => "STOP_SEQUENCE",
        }
    }
}

impl std::fmt::Display for StopReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why an answer was broken off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    pub code: FailureCode,
    pub message: String,
    /// The same request may succeed later or elsewhere.
    pub retriable: bool,
}

/// The kinds of [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FailureCode {
    /// Somebody asked for it, or the client left.
    Cancelled,
    /// Its time was up.
    Deadline,
    OutOfMemory,
    Internal,
}

impl FailureCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cancelled => "CANCELLED",
            Self::Deadline => "DEADLINE",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::Internal => "INTERNAL",
        }
    }
}

impl std::fmt::Display for FailureCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_in_the_data_is_the_name_of_the_event() {
        let end = End {
            tokens_in: 9,
            tokens_cached: 0,
            tokens_out: 2,
            prefill_time_ms: 1.5,
            decode_time_ms: 0.25,
            stop_reason: StopReason::MaxTokens,
            stop_sequence: None,
        };
        let failure = Failure {
            code: FailureCode::OutOfMemory,
            message: "m".into(),
            retriable: true,
        };
        for event in [
            StreamEvent::Started {
                job_id: "j".into(),
                model: "tiny".parse().unwrap(),
                seed: 1,
                started_at: Timestamp::UNIX_EPOCH,
            },
            StreamEvent::Token {
                t: "é".into(),
                i: 0,
            },
            StreamEvent::Metrics {
                tokens_out: 1,
                decode_time_ms: 1.0,
                memory_bytes: 1,
            },
            StreamEvent::End(end),
            StreamEvent::Error(failure),
        ] {
            let frame = event.to_frame(3);
            let data: serde_json::Value = serde_json::from_str(&frame.data).unwrap();
            assert_eq!(data["type"], event.name());
            assert_eq!(frame.event, event.name());
            assert_eq!(
                serde_json::from_str::<StreamEvent>(&frame.data).unwrap(),
                event
            );
        }
    }

    #[test]
    fn reasons_are_written_as_the_contract_names_them() {
        let written = |value: &str| format!("\"{value}\"");
        for reason in [
            StopReason::Eos,
            StopReason::MaxTokens,
            StopReason::StopSequence,
        ] {
            assert_eq!(
                serde_json::to_string(&reason).unwrap(),
                written(reason.as_str())
            );
        }
        for code in [
            FailureCode::Cancelled,
            FailureCode::Deadline,
            FailureCode::OutOfMemory,
            FailureCode::Internal,
        ] {
            assert_eq!(
                serde_json::to_string(&code).unwrap(),
                written(code.as_str())
            );
        }
    }
}
