//! The endpoints: the worker's, and `/faults` and `/seen` of its kind.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use pool_core::serving::openai::{ModelCard, ModelList, TokenizeRequest, Tokenized};
use pool_core::serving::{
    CORRELATION_HEADER, CancelRequest, ErrorCode, Health, MemoryUse, Phase, Ready, Slots,
    is_correlation_id,
};
use serde::Serialize;

use crate::answer::Body;
use crate::faults::{FAULT_HEADER, Faults, ReadyFault};
use crate::generate::{Asked, check_model, count, execute, generate};
use crate::openai::Shape;
use crate::refusal::Refusal;
use crate::shared::Shared;

/// Bytes that a body has at most, as the worker's.
const MOST: usize = 2 * 1024 * 1024;
/// What anybody may ask: probes, and those who test.
const OPEN: [&str; 4] = ["/health", "/ready", "/faults", "/seen"];

/// Answers one request. `refuse` becomes the milliseconds for which all connections are refused after this one.
pub(crate) async fn answer(
    shared: Arc<Shared>,
    refuse: Arc<AtomicU64>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path().to_owned();
    shared.count(format!("{} {path}", request.method()));
    let given = request.headers().get(CORRELATION_HEADER);
    let given = given.and_then(|value| value.to_str().ok());
    let id = match given {
        Some(id) if is_correlation_id(id) => id.to_owned(),
        _ => format!("mock-{}", shared.number()),
    };
    let routed = route(&shared, &refuse, request, &path, &id).await;
    let mut response = routed.unwrap_or_else(|refusal| refusal.answer(&path, &id));
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(CORRELATION_HEADER, value);
    }
    Ok(response)
}

async fn route(
    shared: &Arc<Shared>,
    refuse: &AtomicU64,
    request: Request<Incoming>,
    path: &str,
    id: &str,
) -> Result<Response<Body>, Refusal> {
    if !OPEN.contains(&path) {
        authenticate(shared, request.headers())?;
    }
    let method = request.method().clone();
    match (&method, path) {
        (&Method::GET, "/health") => Ok(json(StatusCode::OK, &health(shared))),
        (&Method::GET, "/ready") => ready(shared).await,
        (&Method::GET, "/metrics") => Ok(text(metrics(shared))),
        (&Method::GET, "/v1/models") => Ok(json(StatusCode::OK, &models(shared))),
        (&Method::GET, "/faults") => Ok(json(StatusCode::OK, &*shared.faults())),
        (&Method::PUT, "/faults") => set_faults(shared, refuse, request).await,
        (&Method::GET, "/seen") => Ok(json(StatusCode::OK, &shared.seen())),
        (&Method::DELETE, "/seen") => {
            shared.forget();
            Ok(empty(StatusCode::NO_CONTENT))
        }
        (&Method::POST, "/execute") => {
            execute(shared, asked(shared, "/execute", id, request).await?).await
        }
        (&Method::POST, "/v1/chat/completions") => {
            let asked = asked(shared, "/v1/chat/completions", id, request).await?;
            generate(shared, Shape::Chat, asked).await
        }
        (&Method::POST, "/v1/completions") => {
            let asked = asked(shared, "/v1/completions", id, request).await?;
            generate(shared, Shape::Completion, asked).await
        }
        (&Method::POST, "/cancel") => {
            let request = CancelRequest::from_json(&body(request).await?)?;
            shared.cancel(&request.job_id);
            Ok(empty(StatusCode::ACCEPTED))
        }
        (&Method::POST, "/tokenize") => tokenize(shared, &body(request).await?),
        (&Method::POST, "/shutdown") => {
            shared.drain();
            Ok(empty(StatusCode::ACCEPTED))
        }
        _ => Err(Refusal::new(
            ErrorCode::NotFound,
            "there is no such endpoint",
        )),
    }
}

fn authenticate(shared: &Shared, headers: &HeaderMap) -> Result<(), Refusal> {
    let Some(token) = &shared.settings.token else {
        return Ok(());
    };
    let shown = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    match shown.and_then(|value| value.split_once(' ')) {
        Some((scheme, shown)) if scheme.eq_ignore_ascii_case("bearer") && shown.trim() == token => {
            Ok(())
        }
        _ => Err(Refusal::new(
            ErrorCode::Unauthorized,
            "the token is not known here",
        )),
    }
}

/// A body that claims to be JSON.
async fn body(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let kind = request.headers().get(CONTENT_TYPE);
    let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        let message = "the body must be JSON, and the header Content-Type application/json";
        return Err(Refusal::new(ErrorCode::UnsupportedMediaType, message));
    }
    let body = Limited::new(request.into_body(), MOST).collect().await;
    let unread = |_| {
        let message = format!("the body cannot be read, or has more than {MOST} bytes");
        Refusal::new(ErrorCode::PayloadTooLarge, message)
    };
    Ok(body.map_err(unread)?.to_bytes())
}

/// A request for an answer, with the faults that it has.
async fn asked(
    shared: &Shared,
    path: &'static str,
    id: &str,
    request: Request<Incoming>,
) -> Result<Asked, Refusal> {
    let own = request.headers().get(FAULT_HEADER).cloned();
    let traceparent = request.headers().get("traceparent");
    let traceparent = traceparent.and_then(|value| value.to_str().ok());
    let traceparent = traceparent.map(str::to_owned);
    let body = body(request).await?;
    let faults = match own {
        Some(own) => read_faults(own.as_bytes())?,
        None => shared.faults().take(),
    };
    Ok(Asked {
        path,
        correlation_id: id.to_owned(),
        traceparent,
        body,
        faults,
    })
}

fn read_faults(json: &[u8]) -> Result<Faults, Refusal> {
    let wrong = |error: serde_json::Error| {
        Refusal::new(
            ErrorCode::InvalidRequest,
            format!("these are no faults: {error}"),
        )
    };
    serde_json::from_slice(json).map_err(wrong)
}

async fn set_faults(
    shared: &Shared,
    refuse: &AtomicU64,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let mut faults = read_faults(&body(request).await?)?;
    let refuse_for = faults.refuse_ms.take();
    *shared.faults() = faults;
    let mut response = empty(StatusCode::NO_CONTENT);
    if let Some(milliseconds) = refuse_for {
        // This connection ends by itself, and then the others.
        refuse.store(milliseconds, Ordering::Release);
        response
            .headers_mut()
            .insert("connection", HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn phase(shared: &Shared) -> Phase {
    if shared.is_draining() {
        Phase::Draining
    } else {
        Phase::Ready
    }
}

fn health(shared: &Shared) -> Health {
    let settings = &shared.settings;
    Health {
        status: phase(shared),
        worker_id: settings.worker_id.clone(),
        model: settings.model.clone(),
        model_digest: None,
        backend: settings.device.backend(),
        device: settings.device,
        uptime_s: shared.started.elapsed().as_secs(),
        slots: Slots {
            total: settings.slots,
            busy: shared.busy(),
        },
        memory: MemoryUse {
            weights: 0,
            kv: 0,
            total: 0,
        },
        us_per_token: (settings.rate > 0.0).then(|| (1e6 / settings.rate) as u64),
    }
}

async fn ready(shared: &Shared) -> Result<Response<Body>, Refusal> {
    let fault = shared.faults().ready;
    if fault == Some(ReadyFault::Hang) {
        match pending::<Infallible>().await {}
    }
    let status = phase(shared);
    let stalled = fault == Some(ReadyFault::Unready);
    let code = match status {
        Phase::Ready if !stalled => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    Ok(json(
        code,
        &Ready {
            status,
            percent: None,
            stalled,
        },
    ))
}

fn metrics(shared: &Shared) -> String {
    let busy = shared.busy();
    let waiting = (shared.live() as u64).saturating_sub(u64::from(busy));
    let model = &shared.settings.model;
    format!(
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{model_name=\"{model}\"}} {busy}\n\
         # TYPE vllm:num_requests_waiting gauge\nvllm:num_requests_waiting{{model_name=\"{model}\"}} {waiting}\n"
    )
}

fn models(shared: &Shared) -> ModelList {
    ModelList {
        object: "list",
        data: vec![ModelCard {
            id: shared.settings.model.clone(),
            object: "model",
            created: shared.started_at.as_second(),
            owned_by: "rbee",
            max_model_len: Some(shared.settings.context),
        }],
    }
}

fn tokenize(shared: &Shared, body: &[u8]) -> Result<Response<Body>, Refusal> {
    let request = TokenizeRequest::from_json(body)?;
    if let Some(model) = &request.model {
        check_model(shared, model)?;
    }
    let count = count(&request.input);
    Ok(json(
        StatusCode::OK,
        &Tokenized {
            tokens: (0..count as u32).collect(),
            count,
            max_model_len: shared.settings.context,
        },
    ))
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Full::default()));
    *response.status_mut() = status;
    response
}

fn text(text: String) -> Response<Body> {
    let mut response = Response::new(Body::Whole(Full::new(text.into())));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    let json = serde_json::to_vec(value).unwrap_or_default();
    let mut response = Response::new(Body::Whole(Full::new(json.into())));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
