//! Connections, and the end of all of them.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::service::answer;
use crate::shared::Shared;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 4096;
/// How long running requests may go on once the end was asked for, as the worker's.
const DRAIN: Duration = Duration::from_secs(4);
/// How long clients have to read what is written, after the last request ended.
const LAST_BYTES: Duration = Duration::from_millis(500);
/// After an accept that failed for lack of something that ended connections give back.
const PAUSE: Duration = Duration::from_millis(50);

/// Takes an address; nobody is let in yet.
fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    bind(address)?.listen(BACKLOG)
}

/// Serves until `stop`, which ends everything at once, or until the worker is drained.
pub(crate) async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    tokio::select! {
        _ = stop => return,
        () = accept_all(listener, &shared, &graceful, &mut connections) => {}
        () = drained(&shared) => {}
    }
    let _ = timeout(LAST_BYTES, graceful.shutdown()).await;
}

/// Returns when the end was asked for and nothing runs any more, or for too long.
async fn drained(shared: &Shared) {
    until(shared, || shared.is_draining()).await;
    let _ = timeout(DRAIN, until(shared, || shared.live() == 0)).await;
}

async fn until(shared: &Shared, is_so: impl Fn() -> bool) {
    loop {
        let changed = shared.changed.notified();
        if is_so() {
            return;
        }
        changed.await;
    }
}

/// Returns when the address was lost to another program.
async fn accept_all(
    mut listener: TcpListener,
    shared: &Arc<Shared>,
    graceful: &GracefulShutdown,
    connections: &mut JoinSet<()>,
) {
    loop {
        tokio::select! {
            stream = accept(&listener) => {
                connections.spawn(connect(stream, Arc::clone(shared), graceful));
            }
            Some(_) = connections.join_next() => {}
            () = shared.refuse.notified() => {
                drop(listener);
                // Bound and not listening: the kernel refuses for us, and nobody takes the address.
                let Ok(socket) = bind(shared.address) else { return };
                connections.abort_all();
                sleep(shared.take_refusal()).await;
                match socket.listen(BACKLOG) {
                    Ok(back) => listener = back,
                    Err(_) => return,
                }
            }
        }
    }
}

async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

fn connect(
    stream: TcpStream,
    shared: Arc<Shared>,
    graceful: &GracefulShutdown,
) -> impl Future<Output = ()> + use<> {
    let refuse = Arc::new(AtomicU64::new(0));
    let slow = shared.faults().accept_ms.map(Duration::from_millis);
    let (asked, host) = (Arc::clone(&refuse), Arc::clone(&shared));
    let service = service_fn(move |request| answer(Arc::clone(&host), Arc::clone(&asked), request));
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let connection = graceful.watch(connection);
    async move {
        if let Some(slow) = slow {
            // The kernel has let the client in; nothing is read from it yet.
            sleep(slow).await;
        }
        // A client that goes away is no fault of the worker, and a cut is what was asked for.
        let _ = connection.await;
        match refuse.load(Ordering::Acquire) {
            0 => {}
            milliseconds => shared.refuse_for(Duration::from_millis(milliseconds)),
        }
    }
}
