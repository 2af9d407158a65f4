//! What the worker and the orchestrator share of serving HTTP: who may ask, how much a client may take, and the shape of every
//! refusal.
//!
//! # Layout
//!
//! | module | holds |
//! |---|---|
//! | `front` | [`Front`], what a service says of itself, and the layers around its routes |
//! | `guard` | who may ask |
//! | `correlation` | the id that names a request through the whole fleet |
//! | `body` | the body of a request, within limits of type, size and time |
//! | `refusal` | every answer that is not a success, in one of two shapes |
//! | `stream` | an answer as server-sent events |
//! | [`connections`] | how many connections there are, and how long each may take |
//! | [`tokens`] | bearer tokens that are accepted |
//! | [`link`] | the link file of a fleet |
//! | [`traces`], `trace`, `collector` | spans, and the collector that they are sent to |
//! | [`openapi`] | what descriptions of services have in common |
//! | [`private`] | files that only their owner may read |
//!
//! # What always holds
//!
//! - A refusal has one of two shapes and the correlation id of its request.
//! - No token and no body stands in a log, in a span or in an answer.
//! - A client that is slow, silent or gone holds its place for a bounded time.

mod body;
mod collector;
pub mod connections;
mod correlation;
mod front;
mod guard;
pub mod link;
pub mod openapi;
pub mod private;
mod random;
mod refusal;
mod stream;
pub mod tokens;
mod trace;
pub mod traces;

pub use body::{Json, MOST};
pub use correlation::CorrelationId;
pub use front::{Front, router};
pub use guard::Caller;
pub use opentelemetry::trace::SpanKind;
pub use opentelemetry::{Array, KeyValue, Value};
pub use random::random;
pub use refusal::Refusal;
pub use stream::stream;
pub use trace::Trace;
