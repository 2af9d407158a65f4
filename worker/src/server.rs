//! One worker, from its bound listener to its exit.

use std::future::Future;
use std::hash::RandomState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http_front::connections;
use http_front::link::{self, LinkError, LinkFile};
use http_front::tokens::{TokenError, Tokens};
use http_front::traces::Traces;
use jiff::Timestamp;
use pool_core::launch::WorkerLaunch;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinSet;

use crate::engine::{Engine, Limits};
use crate::http::{Service, router};
use crate::metrics::Metrics;
use crate::model::{Model, ModelError, Options};
use crate::registrar::Registrar;

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
    /// Where spans go.
    pub traces: Traces,
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
            traces: Traces::default(),
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
    Link(#[from] LinkError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("cannot speak HTTP to an orchestrator")]
    Http(#[from] reqwest::Error),
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
                    "have clients show a token: give --token-file FILE, or the --link-file of a fleet; or give --listen 127.0.0.1:{} and reach it through SSH",
                    address.port()
                )
            }
            Self::Tokens(error) => error.help(),
            Self::Link(error) => error.help(),
            Self::Model(error) => error.help(),
            Self::Panicked => {
                "the lines above say where; this is a fault of the worker: please report it"
                    .to_owned()
            }
            Self::Http(_) | Self::System(_) => {
                "check the limits of this user (`ulimit -a`)".to_owned()
            }
        }
    }
}

/// Takes the address for this worker. One that others reach needs tokens, its own or that of its fleet.
pub fn bind(launch: &WorkerLaunch, tokens: &Tokens) -> Result<TcpListener, WorkerError> {
    let address = launch.listen;
    if tokens.is_empty() && !address.ip().is_loopback() {
        let link = launch.link_file.as_deref().map(link::read).transpose()?;
        if link.flatten().is_none() {
            return Err(WorkerError::NotLoopback(address));
        }
    }
    connections::listen(address).map_err(|source| WorkerError::Listen { address, source })
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
    let address = listener.local_addr()?;
    tracing::info!(
        %address,
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
    let link = launch.link_file.clone().map(LinkFile::open).map(Arc::new);
    let service = Arc::new(Service {
        launch,
        engine,
        metrics,
        asks_token: !settings.tokens.is_empty() || !address.ip().is_loopback(),
        tokens: settings.tokens,
        traces: settings.traces,
        link: link.clone(),
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

    // Ends with this worker.
    let mut registrar = JoinSet::new();
    if let Some(link) = link {
        if service.launch.aside {
            registrar.spawn(link.follow());
        } else {
            registrar.spawn(Registrar::new(Arc::clone(&service), address)?.run(link));
        }
    }

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
    // Neither a client that does not read its stream nor an orchestrator that does not answer keeps the process alive.
    let last = async { tokio::join!(server, registrar.join_next()) };
    let _ = tokio::time::timeout(LAST_BYTES, last).await;
    tracing::info!("stopped");
    Ok(())
}

/// How long clients have to read what is written, after the last request ended.
const LAST_BYTES: Duration = Duration::from_millis(500);
