//! A span, handed from whoever begins a piece of work to whoever ends it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use axum::http::{HeaderMap, StatusCode};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_http::{HeaderExtractor, HeaderInjector};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

/// A span and the trace that it is part of; nothing where traces are off. It ends when the last who holds it lets go.
///
/// No prompt and no answer is ever part of it.
#[derive(Debug, Clone, Default)]
pub struct Trace(Option<Arc<Held>>);

#[derive(Debug)]
struct Held {
    tracer: SdkTracer,
    context: Context,
    correlation: KeyValue,
}

impl Trace {
    /// A span under the one that the headers name, or the first of a trace.
    pub(crate) fn begin(
        tracer: SdkTracer,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        headers: &HeaderMap,
        correlation_id: &str,
    ) -> Self {
        let parent = TraceContextPropagator::new()
            .extract_with_context(&Context::new(), &HeaderExtractor(headers));
        let correlation = KeyValue::new("rbee.correlation_id", correlation_id.to_owned());
        let builder = SpanBuilder::from_name(name).with_kind(kind);
        Self::under(&parent, tracer, correlation, builder, attributes)
    }

    fn under(
        parent: &Context,
        tracer: SdkTracer,
        correlation: KeyValue,
        builder: SpanBuilder,
        mut attributes: Vec<KeyValue>,
    ) -> Self {
        attributes.push(correlation.clone());
        let span = tracer.build_with_context(builder.with_attributes(attributes), parent);
        Self(Some(Arc::new(Held {
            tracer,
            context: parent.with_span(span),
            correlation,
        })))
    }

    /// The span of a part of this one's work.
    #[must_use]
    pub fn child(
        &self,
        name: &'static str,
        kind: SpanKind,
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) -> Self {
        let builder = || SpanBuilder::from_name(name).with_kind(kind);
        self.0
            .as_ref()
            .map_or_else(Self::default, |held| held.child(builder(), attributes()))
    }

    /// The span of a part that is over already.
    pub fn past(
        &self,
        name: &'static str,
        (from, to): (Instant, Instant),
        attributes: impl FnOnce() -> Vec<KeyValue>,
    ) {
        if let Some(held) = &self.0 {
            let (now, at) = (Instant::now(), SystemTime::now());
            let when = |instant: Instant| at - now.saturating_duration_since(instant);
            let builder = SpanBuilder::from_name(name).with_start_time(when(from));
            let child = held.child(builder, attributes());
            if let Some(child) = &child.0 {
                child.context.span().end_with_timestamp(when(to));
            }
        }
    }

    /// Adds attributes.
    pub fn set(&self, attributes: impl FnOnce() -> Vec<KeyValue>) {
        if let Some(held) = &self.0 {
            held.context.span().set_attributes(attributes());
        }
    }

    /// The work failed. `kind` is one of few words: no message, which may quote what was asked.
    pub fn fail(&self, kind: impl Into<Value>) {
        if let Some(held) = &self.0 {
            let span = held.context.span();
            span.set_attribute(KeyValue::new("error.type", kind));
            span.set_status(Status::error(""));
        }
    }

    /// The status of the answer to a request. What its client did wrong is no failure of the service.
    pub(crate) fn answered(&self, status: StatusCode) {
        let code = i64::from(status.as_u16());
        self.set(|| vec![KeyValue::new("http.response.status_code", code)]);
        if status.is_server_error() {
            self.fail(status.as_str().to_owned());
        }
    }

    /// Writes into the headers of a request that it is part of this trace.
    pub fn inject(&self, headers: &mut HeaderMap) {
        if let Some(held) = &self.0 {
            let mut headers = HeaderInjector(headers);
            TraceContextPropagator::new().inject_context(&held.context, &mut headers);
        }
    }
}

impl Held {
    fn child(&self, builder: SpanBuilder, attributes: Vec<KeyValue>) -> Trace {
        let (tracer, correlation) = (self.tracer.clone(), self.correlation.clone());
        Trace::under(&self.context, tracer, correlation, builder, attributes)
    }
}
