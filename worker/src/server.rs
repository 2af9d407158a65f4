//! One worker, from its bound listener to its exit.

mod connections;

use std::future::Future;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use pool_core::launch::WorkerLaunch;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, oneshot};

use crate::engine::{Engine, Limits};
use crate::http::{Service, router};
use crate::metrics::Metrics;
use crate::model::{Model, ModelError, Options};
use crate::tokens::{TokenError, Tokens};

/// What [`run`] goes by, beside the launch.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Requests that may wait for a slot.
    pub waiting: usize,
    /// How long running requests may go on once the end was asked for.
    pub drain: Duration,
    /// How long a stream may be silent before a comment keeps it open.
    pub keep_alive: Duration,
    /// What clients have to show; nothing when empty.
    pub tokens: Tokens,
    /// Connections at one time; others wait until one of them ends.
    pub connections: usize,
    /// How long a client may take to send the head of a request.
    pub header_timeout: Duration,
    /// How long a client may take to send the body of a request.
    pub body_timeout: Duration,
    /// How long a client may take nothing of what is written to it. Only Linux knows it.
    pub unread_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            waiting: 64,
            // With the last step and the last bytes a worker is gone after five seconds.
            drain: Duration::from_secs(4),
            keep_alive: Duration::from_secs(10),
            tokens: Tokens::default(),
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            unread_timeout: Duration::from_mins(1),
        }
    }
}

/// Why a worker cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{0} is not a loopback address, and whoever reaches it could use the model")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Tokens(#[from] TokenError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the inference thread failed")]
    Panicked,
    #[error("the system refused a thread or a socket")]
    System(#[from] std::io::Error),
}

impl WorkerError {
    /// What a person can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Listen { .. } => {
                "another process may listen there: give --listen a free port, or 0 for any"
                    .to_owned()
            }
            Self::NotLoopback(address) => {
                format!(
                    "have clients show a token: give --token-file FILE; or give --listen 127.0.0.1:{} and reach it through SSH",
                    address.port()
                )
            }
            Self::Tokens(error) => error.help(),
            Self::Model(error) => error.help(),
            Self::Panicked => {
                "the lines above say where; this is a fault of the worker: please report it"
                    .to_owned()
            }
            Self::System(_) => "check the limits of this user (`ulimit -a`)".to_owned(),
        }
    }
}

/// Takes the address for this worker. One that others reach needs tokens.
pub async fn bind(address: SocketAddr, tokens: &Tokens) -> Result<TcpListener, WorkerError> {
    if tokens.is_empty() && !address.ip().is_loopback() {
        return Err(WorkerError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| WorkerError::Listen { address, source })
}

/// Serves on the listener until `shutdown` or `POST /shutdown`, then finishes what runs within the deadline.
///
/// Health is served at once, while the model is still loading. Fails when it cannot be loaded.
pub async fn run(
    listener: TcpListener,
    launch: WorkerLaunch,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
) -> Result<(), WorkerError> {
    let options = Options::from(&launch);
    let load = move |progress: &dyn Fn(u8)| Model::load(&options, progress);
    serve(listener, launch, settings, shutdown, load).await
}

/// The same with a model from elsewhere. `load` runs on the inference thread and tells how many percent it has.
pub async fn serve(
    listener: TcpListener,
    launch: WorkerLaunch,
    settings: Settings,
    shutdown: impl Future<Output = ()>,
    load: impl FnOnce(&dyn Fn(u8)) -> Result<Model, ModelError> + Send + 'static,
) -> Result<(), WorkerError> {
    tracing::info!(
        address = %listener.local_addr()?,
        worker_id = %launch.worker_id,
        model = %launch.model,
        device = %launch.device,
        "listening"
    );
    let limits = Limits {
        slots: launch.slots,
        waiting: settings.waiting,
    };
    let metrics = Arc::new(Metrics::new(&launch));
    let counted = Arc::clone(&metrics);
    let (engine, ended) = Engine::start(launch.model.clone(), limits, counted, load)?;
    let service = Arc::new(Service {
        launch,
        engine,
        metrics,
        tokens: settings.tokens,
        started: Instant::now(),
        started_at: Timestamp::now(),
        keep_alive: settings.keep_alive,
        body_timeout: settings.body_timeout,
        tokenizing: Arc::new(Semaphore::new(2)),
        owners: RandomState::new(),
        shutdown: Notify::new(),
    });

    let (close, closing) = oneshot::channel::<()>();
    let limits = connections::Limits {
        connections: settings.connections,
        header_timeout: settings.header_timeout,
        unread_timeout: settings.unread_timeout,
    };
    let router = router(Arc::clone(&service));
    let server = tokio::spawn(connections::serve(listener, router, limits, closing));

    tokio::select! {
        () = shutdown => {}
        () = service.shutdown.notified() => {}
        end = ended => return match end {
            Ok(Err(error)) => Err(error.into()),
            // It only ends by itself when it panicked.
            Ok(Ok(())) | Err(_) => Err(WorkerError::Panicked),
        },
    }
    tracing::info!("draining");
    service.engine.drain(settings.drain).await;
    let _ = close.send(());
    // A client that does not read its stream must not keep the process alive.
    let _ = tokio::time::timeout(LAST_BYTES, server).await;
    tracing::info!("stopped");
    Ok(())
}

/// How long clients have to read what is written, after the last request ended.
const LAST_BYTES: Duration = Duration::from_millis(500);
