//! What a service says of itself, and the layers around its routes.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use pool_core::serving::ErrorCode;

use crate::correlation::correlate;
use crate::guard::guard;
use crate::refusal::Refusal;
use crate::traces::Traces;

/// A service that is asked over HTTP.
pub trait Front: Send + Sync + 'static {
    /// Whom a token stands for.
    type Caller: Clone + Send + Sync + 'static;

    /// The option by which a person has tokens asked for.
    const TOKEN_OPTION: &'static str;

    /// The paths that anybody may ask, so that a probe needs no token.
    const OPEN: &'static [&'static str];

    /// The paths at which a POST asks for an answer: such a request has a span, see [`Trace`](crate::Trace).
    const TRACED: &'static [&'static str];

    /// Whether a token is needed. Where it is not, programs of this machine may ask, but not web pages of others.
    fn asks_token(&self) -> bool;

    /// Whom a token stands for; none where it is not known. Takes as long for a wrong one as for a right one.
    fn accept(&self, token: &str) -> Option<Self::Caller>;

    /// How long a body may take to arrive.
    fn body_timeout(&self) -> Duration;

    /// Where spans go.
    fn traces(&self) -> &Traces;

    /// A request was refused.
    fn refused(&self, code: ErrorCode);
}

/// The routes of a service behind its guard, each request with its correlation id and each refusal in its shape.
///
/// Handlers find [`CorrelationId`](crate::CorrelationId), [`Trace`](crate::Trace) and [`Caller`](crate::Caller) among the extensions of a
/// request.
pub fn router<F: Front>(routes: Router<Arc<F>>, service: Arc<F>) -> Router {
    routes
        .fallback(async || Refusal::new(ErrorCode::NotFound, "there is no such endpoint"))
        .method_not_allowed_fallback(async || {
            Refusal::new(
                ErrorCode::MethodNotAllowed,
                "this endpoint has another method",
            )
        })
        .layer(from_fn_with_state(Arc::clone(&service), guard::<F>))
        .layer(from_fn_with_state(Arc::clone(&service), correlate::<F>))
        .with_state(service)
}
