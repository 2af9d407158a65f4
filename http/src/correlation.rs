//! The id that names a request through the whole fleet.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use pool_core::serving::{CORRELATION_HEADER, is_correlation_id};

use crate::front::Front;
use crate::random::random;
use crate::refusal::Refusal;
use crate::trace::Trace;

/// The correlation id of the request at hand.
#[derive(Debug, Clone)]
pub struct CorrelationId(pub String);

/// Accepts the client's id or makes one, hands it to the handlers with the request's span, echoes it, and writes the line of the
/// log.
pub(crate) async fn correlate<F: Front>(
    State(service): State<Arc<F>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let given = request
        .headers()
        .get(CORRELATION_HEADER)
        .and_then(|value| value.to_str().ok());
    let id = match given {
        Some(id) if is_correlation_id(id) => id.to_owned(),
        _ => format!("{:016x}{:016x}", random(), random()),
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let trace = if method == Method::POST && F::TRACED.contains(&path.as_str()) {
        service.traces().request(&path, request.headers(), &id)
    } else {
        Trace::default()
    };
    request.extensions_mut().insert(CorrelationId(id.clone()));
    request.extensions_mut().insert(trace.clone());
    let mut response = next.run(request).await;
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        tracing::info!(%method, ?path, correlation_id = id, %refusal, "request refused");
        service.refused(refusal.code());
        // An endpoint with another method says which.
        let allowed = response.headers_mut().remove(header::ALLOW);
        response = refusal.answer(&path, &id);
        if let Some(allowed) = allowed {
            response.headers_mut().insert(header::ALLOW, allowed);
        }
    } else {
        let status = response.status().as_u16();
        let ms = started.elapsed().as_millis() as u64;
        tracing::debug!(%method, ?path, correlation_id = id, status, ms, "request");
    }
    trace.answered(response.status());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(CORRELATION_HEADER, value);
    }
    response
}
