//! A connection to a worker, driven by whoever reads from it.
//!
//! A task of its own for each connection would wake the reader for every chunk of a stream. Driven by its reader, all that has
//! come is passed on at once.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Connection, SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::core::AttemptError;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);
/// How long one is kept that nobody uses.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes that are passed on at once at most, but for the last chunk of them.
const BATCH: usize = 64 * 1024;

/// An open connection, on which nothing is under way between two requests.
pub(super) struct Wire {
    sender: SendRequest<Full<Bytes>>,
    /// None once it is closed.
    connection: Option<Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    /// The body that is read broke off.
    is_cut: bool,
}

/// Why there is no answer.
pub(super) struct Unsent {
    /// The request, if nothing of it was sent.
    pub request: Option<Request<Full<Bytes>>>,
}

impl Wire {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// Always [`AttemptError::Connect`].
    pub async fn connect(authority: &str) -> Result<Self, AttemptError> {
        let failed = |message: String| AttemptError::Connect { message };
        let open = async {
            let stream = TcpStream::connect(authority).await;
            let stream = stream.map_err(|error| failed(error.to_string()))?;
            let set = stream.set_nodelay(true);
            set.map_err(|error| failed(error.to_string()))?;
            let shaken = handshake(TokioIo::new(stream)).await;
            shaken.map_err(|error| failed(error.to_string()))
        };
        let silent = |_| failed(format!("no connection within {} s", CONNECT.as_secs()));
        let (sender, connection) = tokio::time::timeout(CONNECT, open)
            .await
            .map_err(silent)??;
        Ok(Self {
            sender,
            connection: Some(connection),
            is_cut: false,
        })
    }

    /// Sends a request, and returns when the head of its answer is there.
    pub async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Unsent> {
        // What the worker closed meanwhile is seen before anything is sent.
        std::future::poll_fn(|context| {
            self.drive(context);
            Poll::Ready(())
        })
        .await;
        let answer = self.sender.try_send_request(request);
        let mut answer = std::pin::pin!(answer);
        let answer = std::future::poll_fn(|context| {
            self.drive(context);
            answer.as_mut().poll(context)
        });
        answer.await.map_err(|mut error| Unsent {
            request: error.take_message(),
        })
    }

    fn drive(&mut self, context: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(context).is_ready()
        {
            self.connection = None;
        }
    }

    /// The next bytes of a body: all that have come. None at its end.
    pub fn poll_next(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, AttemptError>> {
        let mut came = Batch::default();
        while came.len() < BATCH && !self.is_cut {
            self.drive(context);
            if body.is_end_stream() && came.len() > 0 {
                break;
            }
            match Pin::new(&mut *body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => {
                    // What is no data is trailers, which nobody waits for.
                    if let Ok(bytes) = frame.into_data() {
                        came.push(bytes);
                    }
                }
                Poll::Ready(Some(Err(_))) => self.is_cut = true,
                // The end comes again when what has come before it is taken.
                Poll::Ready(None) if came.len() == 0 => return Poll::Ready(Ok(None)),
                Poll::Pending if came.len() == 0 => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(match came.len() {
            0 => Err(AttemptError::Cut),
            _ => Ok(Some(came.take())),
        })
    }

    /// Nothing is under way, and the worker has not closed it.
    fn is_idle(&mut self, context: &mut Context<'_>) -> bool {
        self.drive(context);
        self.connection.is_some() && self.sender.is_ready()
    }
}

/// Bytes that came together; a single piece is not copied.
#[derive(Default)]
struct Batch {
    first: Bytes,
    all: BytesMut,
}

impl Batch {
    fn len(&self) -> usize {
        self.first.len() + self.all.len()
    }

    fn push(&mut self, bytes: Bytes) {
        if self.len() == 0 {
            self.first = bytes;
            return;
        }
        if self.all.is_empty() {
            self.all.reserve(4096);
            self.all.extend_from_slice(&std::mem::take(&mut self.first));
        }
        self.all.extend_from_slice(&bytes);
    }

    fn take(self) -> Bytes {
        if self.all.is_empty() {
            self.first
        } else {
            self.all.freeze()
        }
    }
}

/// Connections that wait for the next request, by `HOST:PORT`.
#[derive(Default)]
pub(super) struct Idle(Mutex<HashMap<String, VecDeque<(Instant, Wire)>>>);

impl Idle {
    /// The connection that was used last.
    pub fn take(&self, authority: &str) -> Option<Wire> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, wire) = all.get_mut(authority)?.pop_back()?;
        Some(wire)
    }

    /// Keeps a connection, and ends those that nobody has used for long.
    fn put(&self, authority: String, wire: Wire) {
        let now = Instant::now();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(authority).or_default().push_back((now, wire));
        all.retain(|_, wires| {
            while wires.front().is_some_and(|(since, _)| now - *since > IDLE) {
                wires.pop_front();
            }
            !wires.is_empty()
        });
    }

    /// Keeps a connection if it can be used again.
    pub fn keep(&self, authority: String, mut wire: Wire, context: &mut Context<'_>) {
        if wire.is_idle(context) {
            self.put(authority, wire);
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
