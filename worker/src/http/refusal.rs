//! Every answer that is not a success.

use std::fmt;

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pool_core::serving::{ErrorBody, ErrorCode, ErrorDetails, Violation, Violations};

use crate::engine::Refused;
use crate::text::ChatError;

/// Why a request is not served. The middleware puts the correlation id in and writes the body.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    code: ErrorCode,
    message: String,
    details: Vec<Violation>,
    retry_after_s: Option<u64>,
}

impl Refusal {
    pub fn new(code: ErrorCode, message: impl ToString) -> Self {
        Self {
            code,
            message: message.to_string(),
            details: Vec::new(),
            retry_after_s: None,
        }
    }

    /// One field that only the model can judge.
    pub fn field(field: &str, constraint: &str, message: String) -> Self {
        Violations(vec![Violation {
            field: field.to_owned(),
            constraint: constraint.to_owned(),
            message,
        }])
        .into()
    }

    pub fn into_response(self, correlation_id: &str) -> Response {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ErrorBody {
            error: ErrorDetails {
                code: self.code,
                message: self.message,
                details: self.details,
                retriable: self.code.is_retriable(),
                retry_after_ms: self.retry_after_s.map(|seconds| seconds * 1000),
                correlation_id: correlation_id.to_owned(),
            },
        };
        let mut response = (status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// For the log: the code and the fields. Messages stay out of it, because a chat template may quote the prompt in its own.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.code)?;
        let fields = self.details.iter().map(|violation| &violation.field);
        fields
            .take(MOST_FIELDS)
            .try_for_each(|field| write!(f, " {field:?}"))
    }
}

/// Fields in one line of the log.
const MOST_FIELDS: usize = 12;

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Violations> for Refusal {
    fn from(violations: Violations) -> Self {
        Self {
            details: violations.0.clone(),
            ..Self::new(ErrorCode::InvalidRequest, violations)
        }
    }
}

impl From<ChatError> for Refusal {
    fn from(error: ChatError) -> Self {
        Self::field(
            "messages",
            "accepted by the model's chat template",
            error.to_string(),
        )
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(ErrorCode::PayloadTooLarge, "the body is too large")
            }
            _ => Self::new(ErrorCode::InvalidRequest, "the body cannot be read"),
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        let (code, retry_after_s) = match refused {
            Refused::Loading => (ErrorCode::Loading, Some(1)),
            Refused::QueueFull => (ErrorCode::QueueFull, Some(1)),
            Refused::Draining => (ErrorCode::Draining, None),
            Refused::Duplicate => (ErrorCode::Conflict, None),
        };
        Self {
            retry_after_s,
            ..Self::new(code, refused)
        }
    }
}
