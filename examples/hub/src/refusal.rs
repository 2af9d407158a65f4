//! Refusals in the words of the real hub: a status, a code for programs and a message for people.

use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

#[derive(Debug)]
pub(crate) struct Refusal {
    status: StatusCode,
    code: Option<&'static str>,
    message: String,
    commit: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: Option<&'static str>, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            commit: None,
        }
    }

    /// A token that nobody has.
    pub fn credentials() -> Self {
        let message = "Invalid credentials in Authorization header";
        Self::new(StatusCode::UNAUTHORIZED, None, message)
    }

    /// A repository that is not there, or not for whoever asks: nobody can tell the two apart.
    pub fn no_repo(has_token: bool) -> Self {
        let (status, message) = if has_token {
            (StatusCode::NOT_FOUND, "Repository not found")
        } else {
            (StatusCode::UNAUTHORIZED, "Invalid username or password.")
        };
        Self::new(status, Some("RepoNotFound"), message)
    }

    pub fn gated(url: &str, repo: &str, has_token: bool) -> Self {
        let (status, message) = if has_token {
            (
                StatusCode::FORBIDDEN,
                format!(
                    "Access to model {repo} is restricted and you are not in the authorized list. \
                     Visit {url}/{repo} to ask for access."
                ),
            )
        } else {
            (
                StatusCode::UNAUTHORIZED,
                format!(
                    "Access to model {repo} is restricted. You must have access to it and be authenticated \
                     to access it. Please log in."
                ),
            )
        };
        Self::new(status, Some("GatedRepo"), message)
    }

    pub fn no_revision(revision: &str) -> Self {
        let message = format!("Invalid rev id: {revision}");
        Self::new(StatusCode::NOT_FOUND, Some("RevisionNotFound"), message)
    }

    pub fn no_entry(commit: &str, message: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::NOT_FOUND, Some("EntryNotFound"), message);
        refusal.commit = Some(commit.to_owned());
        refusal
    }

    pub fn status(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, None, message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.message }));
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        if let Some(code) = self.code {
            headers.insert("x-error-code", HeaderValue::from_static(code));
        }
        // A message may quote what no header can hold; then only the body has it.
        if let Ok(message) = HeaderValue::from_str(&self.message) {
            headers.insert("x-error-message", message);
        }
        if let Some(Ok(commit)) = self.commit.map(HeaderValue::try_from) {
            headers.insert("x-repo-commit", commit);
        }
        response
    }
}
