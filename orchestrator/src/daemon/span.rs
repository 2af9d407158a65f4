//! The span of one attempt.

use http_front::{KeyValue, SpanKind, Trace};

use crate::core::{AttemptError, Dispatch, Used};

/// What is asked of workers, in the words of [OpenTelemetry's conventions].
///
/// [OpenTelemetry's conventions]: https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Chat,
    TextCompletion,
}

impl Operation {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::TextCompletion => "text_completion",
        }
    }
}

/// An attempt as a span. One that is dropped before its outcome is known was cancelled.
pub struct AttemptSpan {
    span: Trace,
    is_told: bool,
}

impl AttemptSpan {
    /// A task goes to a worker.
    pub fn begin(trace: &Trace, dispatch: &Dispatch, operation: Operation, model: &str) -> Self {
        let span = trace.child("attempt", SpanKind::Client, || {
            let authority = dispatch.url.trim_start_matches("http://");
            let (host, port) = authority.rsplit_once(':').unwrap_or((authority, "80"));
            vec![
                KeyValue::new("gen_ai.operation.name", operation.as_str()),
                KeyValue::new("gen_ai.provider.name", "rbee"),
                KeyValue::new("gen_ai.request.model", model.to_owned()),
                KeyValue::new("server.address", host.to_owned()),
                KeyValue::new("server.port", port.parse().unwrap_or(80_i64)),
                KeyValue::new("rbee.worker", dispatch.worker.to_string()),
                KeyValue::new("rbee.attempt", i64::from(dispatch.attempt)),
            ]
        });
        Self {
            span,
            is_told: false,
        }
    }

    /// What the worker's own spans are part of.
    pub fn trace(&self) -> &Trace {
        &self.span
    }

    /// The answer is whole.
    pub fn completed(&mut self, used: Used) {
        self.is_told = true;
        self.span.set(|| {
            vec![
                outcome("completed"),
                KeyValue::new("gen_ai.usage.input_tokens", used.tokens_in.cast_signed()),
                KeyValue::new("gen_ai.usage.output_tokens", used.tokens_out.cast_signed()),
            ]
        });
    }

    /// There is no whole answer.
    pub fn failed(&mut self, error: &AttemptError) {
        self.is_told = true;
        self.span.set(|| match error {
            AttemptError::Status { status, .. } => vec![
                outcome("failed"),
                KeyValue::new("http.response.status_code", i64::from(*status)),
            ],
            _ => vec![outcome("failed")],
        });
        match error {
            AttemptError::Status { status, .. } => self.span.fail(status.to_string()),
            _ => self.span.fail(error.kind()),
        }
    }
}

/// How a task or an attempt ended, as an attribute.
pub fn outcome(word: &'static str) -> KeyValue {
    KeyValue::new("rbee.outcome", word)
}

impl Drop for AttemptSpan {
    fn drop(&mut self) {
        if !self.is_told {
            self.span.set(|| vec![outcome("cancelled")]);
        }
    }
}
