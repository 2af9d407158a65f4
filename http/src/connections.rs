//! The connections of a service: how many, and how long each may take.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
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

/// Connections that may wait until they are accepted. Where more come at once than wait, Linux resets some; it takes this for a wish,
/// and grants `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// Takes an address.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn hundreds_may_come_at_once_and_wait() {
        let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap_or_default();
        let most: usize = most.trim().parse().unwrap_or(128);
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        for _ in 0..most.min(500) {
            let connect = TcpStream::connect(address);
            let connected = tokio::time::timeout(Duration::from_secs(20), connect).await;
            waiting.push(connected.expect("nobody is left out").unwrap());
        }
    }
}
