//! Every answer that is not a success.

use std::fmt;
use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pool_core::serving::openai::{OpenAiError, OpenAiErrorBody};
use pool_core::serving::{ErrorBody, ErrorCode, ErrorDetails, Violation, Violations};

/// Why a request is not served. The middleware puts the correlation id in and writes the body.
#[derive(Debug, Clone)]
#[must_use]
pub struct Refusal {
    code: ErrorCode,
    message: String,
    details: Vec<Violation>,
    retry_after: Option<Duration>,
    /// OpenAI's own word for it, where it has one.
    openai: Option<&'static str>,
}

impl Refusal {
    /// With a message for whoever asked.
    pub fn new(code: ErrorCode, message: impl ToString) -> Self {
        Self {
            code,
            message: message.to_string(),
            details: Vec::new(),
            retry_after: None,
            openai: None,
        }
    }

    /// The kind of refusal.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// When the client may come back.
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Prompt and answer are longer than the context.
    pub fn context_exceeded(mut self) -> Self {
        self.openai = Some("context_length_exceeded");
        self
    }

    /// Another model is asked for than the one that is served.
    pub fn model_not_found(mut self) -> Self {
        self.openai = Some("model_not_found");
        self
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

    /// The answer to the request with this path and correlation id.
    pub(crate) fn answer(self, path: &str, correlation_id: &str) -> Response {
        let code = self.code;
        let wait = self.retry_after;
        let status =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = if is_openai(path) {
            (status, Json(self.into_openai())).into_response()
        } else {
            (status, Json(self.into_own(correlation_id))).into_response()
        };
        let headers = response.headers_mut();
        if let Some(wait) = wait {
            let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            for name in ["retry-after-ms", "x-backoff-ms"] {
                headers.insert(name, HeaderValue::from(milliseconds(wait)));
            }
        }
        match code {
            ErrorCode::Unauthorized => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            // The rest of the body is still on its way and nobody will read it.
            ErrorCode::PayloadTooLarge
            | ErrorCode::RequestTimeout
            | ErrorCode::UnsupportedMediaType => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response
    }

    fn into_own(self, correlation_id: &str) -> ErrorBody {
        ErrorBody {
            error: ErrorDetails {
                code: self.code,
                message: self.message,
                details: self.details,
                retriable: self.code.is_retriable(),
                retry_after_ms: self.retry_after.map(milliseconds),
                correlation_id: correlation_id.to_owned(),
            },
        }
    }

    fn into_openai(self) -> OpenAiErrorBody {
        let first = self.details.into_iter().next();
        let param = first
            .map(|violation| violation.field)
            .filter(|field| !field.is_empty());
        let mut error = OpenAiError::new(self.code, self.message, param);
        if let Some(word) = self.openai {
            error.code = Some(word.to_owned());
            if self.code == ErrorCode::NotFound {
                error.param = Some("model".to_owned());
            }
        }
        OpenAiErrorBody { error }
    }
}

/// Where OpenAI's clients ask.
fn is_openai(path: &str) -> bool {
    path.starts_with("/v1/") || path == "/tokenize"
}

/// At least one: zero would mean at once.
fn milliseconds(wait: Duration) -> u64 {
    (wait.as_millis() as u64).max(1)
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
