//! Where the spans of a service go: to a collector that speaks OTLP over HTTP, or nowhere.
//!
//! Nothing waits for the collector but the end of the process, and that not for long. As many spans wait as
//! `OTEL_BSP_MAX_QUEUE_SIZE` says, 2048 at most when it does not; those that find no room are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::HeaderMap;
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, TracerProvider as _};
use opentelemetry_otlp::{
    ExporterBuildError, OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, Protocol,
    SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider, SpanData};
use pool_core::registration::BaseUrl;

use crate::collector::Collector;
use crate::trace::Trace;

/// Why no spans can be sent.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    #[error("spans cannot be sent where --traces or OTEL_EXPORTER_OTLP_ENDPOINT says")]
    Exporter(#[from] ExporterBuildError),
    #[error("no runtime can be made for sending spans")]
    Runtime(#[from] std::io::Error),
}

/// Where spans go. The default is nowhere, and costs nothing.
#[derive(Debug, Clone, Default)]
pub struct Traces(Option<Arc<Sending>>);

#[derive(Debug)]
struct Sending {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
}

impl Traces {
    /// To the collector at `url`, else where the variables of [OpenTelemetry's exporters] say, else nowhere.
    ///
    /// `about` tells this process apart from others, beside the name of its service.
    ///
    /// [OpenTelemetry's exporters]: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
    pub fn open(
        service: &'static str,
        about: impl IntoIterator<Item = KeyValue>,
        url: Option<&BaseUrl>,
    ) -> Result<Self, TracesError> {
        let variables = [
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
            OTEL_EXPORTER_OTLP_ENDPOINT,
        ];
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if url.is_none() && !variables.into_iter().any(is_set) {
            return Ok(Self::default());
        }
        let mut exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new()?)
            .with_protocol(Protocol::HttpBinary);
        if let Some(url) = url {
            exporter = exporter.with_endpoint(format!("{url}/v1/traces"));
        }
        let told = Told {
            exporter: exporter.build()?,
            is_failing: AtomicBool::new(false),
        };
        let resource = Resource::builder()
            .with_service_name(service)
            .with_attribute(KeyValue::new("service.version", pool_core::VERSION))
            .with_attributes(about);
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(told)
            .with_resource(resource.build())
            .build();
        let tracer = provider.tracer(service);
        Ok(Self(Some(Arc::new(Sending { provider, tracer }))))
    }

    /// The span of `POST route`. It continues the trace that the headers name, as [W3C's Trace Context] has it, or begins one.
    ///
    /// [W3C's Trace Context]: https://www.w3.org/TR/trace-context/
    pub(crate) fn request(&self, route: &str, headers: &HeaderMap, correlation_id: &str) -> Trace {
        let Some(sending) = &self.0 else {
            return Trace::default();
        };
        let attributes = vec![
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", route.to_owned()),
            KeyValue::new("url.path", route.to_owned()),
            KeyValue::new("url.scheme", "http"),
        ];
        let (name, tracer) = (format!("POST {route}"), sending.tracer.clone());
        Trace::begin(
            tracer,
            name,
            SpanKind::Server,
            attributes,
            headers,
            correlation_id,
        )
    }

    /// The span of what no request is there for: a trace of its own.
    pub fn alone(&self, name: &'static str, correlation_id: &str) -> Trace {
        let Some(sending) = &self.0 else {
            return Trace::default();
        };
        let (kind, tracer) = (SpanKind::Internal, sending.tracer.clone());
        Trace::begin(
            tracer,
            name,
            kind,
            Vec::new(),
            &HeaderMap::new(),
            correlation_id,
        )
    }

    /// Sends what is left, for so long at most. Spans that end later are dropped.
    pub fn close(&self, limit: Duration) {
        if let Some(sending) = &self.0
            && let Err(error) = sending.provider.shutdown_with_timeout(limit)
        {
            tracing::warn!(%error, "the last spans were not sent");
        }
    }
}

/// Says once that the collector takes no spans, and once that it takes them again.
#[derive(Debug)]
struct Told {
    exporter: SpanExporter,
    is_failing: AtomicBool,
}

impl opentelemetry_sdk::trace::SpanExporter for Told {
    async fn export(&self, spans: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.exporter.export(spans).await;
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match sent {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "the collector takes no spans; until it does they are dropped");
            }
            Ok(()) if was_failing => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        Ok(())
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::time::Instant;

    use super::*;

    /// With a collector that takes connections and never answers.
    fn hanging() -> (Traces, TcpListener) {
        let collector = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = collector.local_addr().unwrap().into();
        (Traces::open("test", [], Some(&url)).unwrap(), collector)
    }

    /// What a request with this `traceparent` hands on.
    fn passed_on(traces: &Traces, traceparent: &str) -> Option<String> {
        let headers =
            HeaderMap::from_iter([("traceparent".parse().unwrap(), traceparent.parse().unwrap())]);
        let trace = traces.request("/execute", &headers, "id");
        let mut headers = HeaderMap::new();
        trace.inject(&mut headers);
        Some(headers.get("traceparent")?.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_trace_is_continued_where_there_is_one_and_begun_where_not() {
        let (traces, _collector) = hanging();
        for sampled in ["01", "00"] {
            let given = format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{sampled}");
            let passed = passed_on(&traces, &given).unwrap();
            let [begin, end] = [
                "00-0af7651916cd43dd8448eb211c80319c-",
                &format!("-{sampled}"),
            ];
            assert!(
                passed.starts_with(begin) && passed.ends_with(end),
                "{passed}"
            );
            assert_ne!(passed, given);
        }
        for none in [
            "",
            "00-0-0-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let passed = passed_on(&traces, none).unwrap();
            assert_eq!(passed.len(), 55);
            assert!(
                !passed.contains("0af7651916cd43dd8448eb211c80319c"),
                "{passed}"
            );
        }
        let given = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(passed_on(&Traces::default(), given), None);
    }

    #[test]
    fn nobody_waits_for_a_collector_that_hangs() {
        let (traces, _collector) = hanging();
        let began = Instant::now();
        let trace = traces.alone("work", "id");
        for _ in 0..20_000 {
            drop(trace.child("part", SpanKind::Internal, Vec::new));
        }
        traces.close(Duration::from_millis(100));
        // One batch alone would take ten seconds.
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }
}
