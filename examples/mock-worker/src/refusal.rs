//! Every answer that is not a success, in the contract's shape or in OpenAI's.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Response, StatusCode, header};
use pool_core::serving::openai::{OpenAiError, OpenAiErrorBody};
use pool_core::serving::{ErrorBody, ErrorCode, ErrorDetails, Violation, Violations};

use crate::answer::Body;

/// Why a request is not served.
#[derive(Debug)]
pub(crate) struct Refusal {
    code: ErrorCode,
    message: String,
    details: Vec<Violation>,
    /// OpenAI's own word for it, where it has one.
    openai: Option<&'static str>,
}

/// When a client may come back, in milliseconds.
const RETRY_AFTER: u64 = 1000;

impl Refusal {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            openai: None,
        }
    }

    /// One field is wrong.
    pub fn field(field: &str, constraint: &str, message: String) -> Self {
        Violations(vec![Violation {
            field: field.to_owned(),
            constraint: constraint.to_owned(),
            message,
        }])
        .into()
    }

    /// The same with OpenAI's own word for it.
    pub fn word(self, openai: &'static str) -> Self {
        Self {
            openai: Some(openai),
            ..self
        }
    }

    /// The answer to a request with this path and correlation id.
    pub fn answer(self, path: &str, correlation_id: &str) -> Response<Body> {
        let code = self.code;
        let retry_after = matches!(code, ErrorCode::QueueFull).then_some(RETRY_AFTER);
        let json = if path.starts_with("/v1/") || path == "/tokenize" {
            let param = self
                .details
                .into_iter()
                .next()
                .map(|violation| violation.field);
            let param = param.filter(|field| !field.is_empty());
            let mut error = OpenAiError::new(code, self.message, param);
            if let Some(word) = self.openai {
                error.code = Some(word.to_owned());
            }
            serde_json::to_vec(&OpenAiErrorBody { error })
        } else {
            serde_json::to_vec(&ErrorBody {
                error: ErrorDetails {
                    code,
                    message: self.message,
                    details: self.details,
                    retriable: code.is_retriable(),
                    retry_after_ms: retry_after,
                    correlation_id: correlation_id.to_owned(),
                },
            })
        };
        let mut response = Response::new(Body::Whole(Full::new(Bytes::from(
            json.unwrap_or_default(),
        ))));
        *response.status_mut() =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            header::HeaderValue::from_static("application/json"),
        );
        if let Some(milliseconds) = retry_after {
            headers.insert(header::RETRY_AFTER, milliseconds.div_ceil(1000).into());
            headers.insert("retry-after-ms", milliseconds.into());
        }
        response
    }
}

impl From<Violations> for Refusal {
    fn from(violations: Violations) -> Self {
        Self {
            message: violations.to_string(),
            details: violations.0,
            ..Self::new(ErrorCode::InvalidRequest, "")
        }
    }
}
