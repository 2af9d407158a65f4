//! The body of every refusal under `/v1/`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::serving::{ErrorCode, Failure, FailureCode};

/// `{"error": {…}}`, as OpenAI's clients read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OpenAiErrorBody {
    pub error: OpenAiError,
}

/// What was refused and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct OpenAiError {
    pub message: String,
    /// The class of the error, such as `invalid_request_error`.
    pub r#type: String,
    /// The field that is wrong; of several the first.
    pub param: Option<String>,
    pub code: Option<String>,
}

impl OpenAiError {
    pub fn new(code: ErrorCode, message: String, param: Option<String>) -> Self {
        let class = match code {
            ErrorCode::Unauthorized => "authentication_error",
            ErrorCode::Forbidden => "permission_error",
            ErrorCode::QueueFull | ErrorCode::QuotaExceeded => "rate_limit_error",
            ErrorCode::Internal
            | ErrorCode::WorkerFailed
            | ErrorCode::Unavailable
            | ErrorCode::Deadline
            | ErrorCode::Loading
            | ErrorCode::Draining
            | ErrorCode::OutOfMemory => "server_error",
            _ => "invalid_request_error",
        };
        let code = match code {
            // OpenAI's own words for them.
            ErrorCode::Unauthorized => "invalid_api_key".to_owned(),
            code => code.as_str().to_lowercase(),
        };
        Self {
            message,
            r#type: class.to_owned(),
            param,
            code: Some(code),
        }
    }
}

/// What a broken answer says inside its stream.
impl From<Failure> for OpenAiError {
    fn from(failure: Failure) -> Self {
        Self::new(failure.code.into(), failure.message, None)
    }
}

/// The refusal that says the same where there is no stream yet.
impl From<FailureCode> for ErrorCode {
    fn from(code: FailureCode) -> Self {
        match code {
            FailureCode::Cancelled => Self::Cancelled,
            FailureCode::Deadline => Self::Draining,
            FailureCode::OutOfMemory => Self::OutOfMemory,
            FailureCode::Internal => Self::Internal,
        }
    }
}
