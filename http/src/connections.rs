//! The connections of a service: how many, and how long each may take.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

/// What clients can take of a service before they ask anything.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// At one time; others wait until one of them ends.
    pub connections: usize,
    /// How long the head of a request may take to arrive.
    pub header_timeout: Duration,
    /// How long what is written may wait for its client. Only Linux knows it.
    pub unread_timeout: Duration,
}

/// After an accept that failed for lack of something that ended connections give back.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `closing`, then no new connection, and returns when those there are have ended.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut closing: oneshot::Receiver<()>,
) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, accept(&listener, limits).await)
        };
        let (place, stream) = tokio::select! {
            next = next => next,
            _ = &mut closing => break,
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that goes away or does not speak HTTP is no fault of the service.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
}

async fn accept(listener: &TcpListener, limits: Limits) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Frames are small and each is wanted at once.
                let _ = stream.set_nodelay(true);
                // A client that takes nothing keeps its place no longer than this.
                #[cfg(target_os = "linux")]
                let _ = rustix::net::sockopt::set_tcp_user_timeout(
                    &stream,
                    limits.unread_timeout.as_millis() as u32,
                );
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
