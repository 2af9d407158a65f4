//! The daemon, from its bound listener to its exit.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_front::connections;
use pool_core::registration::BaseUrl;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{KeysError, Orchestrator, recover, time, workers};
use crate::policy::PolicyError;
use crate::store::StoreError;

/// Why an orchestrator cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("{0} is not a loopback address, and whoever reaches it could use the fleet")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ServeError {
    /// What a person can do about it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Listen { .. } => Some(
                "another process may listen there: give --listen a free port, or 0 for any".into(),
            ),
            Self::NotLoopback(_) => Some(
                "have clients show a token: give --token-file FILE, --link-file FILE or --tenants FILE"
                    .into(),
            ),
            Self::Keys(error) => error.help(),
            Self::Policy(_) => None,
            Self::Store(error) => error.help(),
        }
    }
}

/// Takes the address. One that others reach needs tokens.
pub fn bind(address: SocketAddr, asks_token: bool) -> Result<TcpListener, ServeError> {
    if !asks_token && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    connections::listen(address).map_err(|source| ServeError::Listen { address, source })
}

const CONNECTIONS: connections::Limits = connections::Limits {
    connections: 16_384,
    header_timeout: Duration::from_secs(10),
    unread_timeout: Duration::from_mins(5),
};

/// How long clients have to read what is written, after the last task ended.
const LAST_BYTES: Duration = Duration::from_millis(500);

/// Serves on the listener until `shutdown`, then finishes what runs within the deadline. What still waits stays in the store.
pub async fn run(
    listener: TcpListener,
    orchestrator: Arc<Orchestrator>,
    stand_ins: Vec<BaseUrl>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    recover::recover(&orchestrator).await?;
    let mut background = tokio::task::JoinSet::new();
    background.spawn(time::run(Arc::clone(&orchestrator)));
    background.spawn(workers::probe_all(Arc::clone(&orchestrator)));
    if let Some(link) = orchestrator.keys.link() {
        background.spawn(link.follow());
    }
    for url in stand_ins {
        background.spawn(workers::stand_in(Arc::clone(&orchestrator), url));
    }
    let (close, closing) = oneshot::channel::<()>();
    let router = crate::http::router(Arc::clone(&orchestrator));
    let server = tokio::spawn(connections::serve(listener, router, CONNECTIONS, closing));
    shutdown.await;
    tracing::info!("draining");
    orchestrator.drain().await;
    let _ = close.send(());
    // A client that does not read its stream must not keep the process alive.
    let _ = tokio::time::timeout(LAST_BYTES, server).await;
    background.shutdown().await;
    orchestrator.keep_promised();
    orchestrator.store.close().await;
    tracing::info!("stopped");
    Ok(())
}

impl Orchestrator {
    pub fn is_draining(&self) -> bool {
        self.ask(|core, _| core.is_draining())
    }

    /// Admits and starts nothing more, and waits for what runs, at most as long as the limit says.
    async fn drain(&self) {
        const LOOK: Duration = Duration::from_millis(20);
        self.ask(|core, _| core.drain(true));
        let is_idle = || self.ask(|core, _| core.running() == 0);
        let idle = async {
            while !is_idle() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(self.limits.drain, idle).await.is_err() {
            tracing::warn!("tasks that still run are broken off");
        }
    }
}
