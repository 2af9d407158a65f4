//! What a worker says of itself, and the request for its end.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use http_front::Refusal;
use pool_core::serving::{ErrorCode, Health, Phase, Ready};

use super::Service;

pub(super) async fn health(State(service): State<Arc<Service>>) -> Json<Health> {
    let Service {
        launch,
        engine,
        started,
        ..
    } = service.as_ref();
    Json(Health {
        status: engine.phase(),
        worker_id: launch.worker_id.clone(),
        model: launch.model.clone(),
        model_digest: launch.model_digest,
        backend: launch.device.backend(),
        device: launch.device,
        uptime_s: started.elapsed().as_secs(),
        slots: service.slots(),
        memory: engine.memory(),
        us_per_token: engine.us_per_token(),
    })
}

pub(super) async fn ready(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let status = service.engine.phase();
    let percent = (status == Phase::Loading).then(|| service.engine.percent());
    let stalled = service.engine.load().stalled;
    let code = match status {
        Phase::Ready if !stalled => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let ready = Ready {
        status,
        percent,
        stalled,
    };
    (code, Json(ready))
}

pub(super) async fn metrics(State(service): State<Arc<Service>>) -> impl IntoResponse {
    let text = service.metrics.text(
        &service.engine.load(),
        &service.engine.memory(),
        service.started.elapsed(),
    );
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text)
}

/// The body is empty or an empty object: there is nothing to say.
pub(super) async fn shutdown(
    State(service): State<Arc<Service>>,
    http_front::Json(body): http_front::Json,
) -> Result<StatusCode, Refusal> {
    let is_empty = body.is_empty()
        || serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&body)
            .is_ok_and(|object| object.is_empty());
    if !is_empty {
        let message = "the body must be {} or empty";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    service.shutdown.notify_one();
    Ok(StatusCode::ACCEPTED)
}
