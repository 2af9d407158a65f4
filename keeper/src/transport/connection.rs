//! One pool, reached: by child processes when it is this machine, else through one SSH connection.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use openssh::{ForwardType, Session, Socket};
use pool_core::name::PoolName;
use serde::{Deserialize, Serialize};

use super::error::{ConnectError, ConnectErrorKind};
use super::process::Process;
use super::ssh;

/// How a pool is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// This machine.
    Local,
    /// `ssh://[user@]host[:port]`, where host may be an alias of the ssh configuration.
    Ssh {
        destination: String,
        host_keys: HostKeys,
    },
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Ssh { destination, .. } => f.write_str(destination),
        }
    }
}

/// What to do with a host key that is not in `known_hosts`. One that changed is always refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostKeys {
    #[default]
    Strict,
    AcceptNew,
}

/// What holds for all connections of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Read by ssh in place of `~/.ssh/config`.
    pub ssh_config: Option<PathBuf>,
    /// For TCP and the key exchange, in whole seconds.
    pub connect_timeout: Duration,
    /// How often a silent peer is asked for a sign of life, in whole seconds. Three unanswered
    /// questions end the connection.
    pub alive_interval: Duration,
    /// For the pool's login shell and its hive to say their first word.
    pub start_timeout: Duration,
    /// `RBEE_HOME` of the local pool, where it is not this process's own.
    pub local_home: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ssh_config: None,
            connect_timeout: Duration::from_secs(10),
            alive_interval: Duration::from_secs(4),
            start_timeout: Duration::from_secs(30),
            local_home: None,
        }
    }
}

/// Where a port of a pool can be reached from this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forward {
    Tcp(SocketAddr),
    /// A socket that only this user can open; for `reqwest::ClientBuilder::unix_socket`.
    Unix(PathBuf),
}

/// A way to one pool. It lasts as long as this value, its forwards and hives started through it.
#[derive(Debug, Clone)]
pub struct Connection {
    pub(super) pool: PoolName,
    pub(super) endpoint: Endpoint,
    pub(super) options: Options,
    /// None for the local pool.
    session: Option<Arc<Session>>,
    forwards: Arc<AtomicU32>,
}

impl Connection {
    /// Connects, and logs in where the pool is another machine.
    pub async fn connect(
        pool: &PoolName,
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        let mut connection = Self {
            pool: pool.clone(),
            endpoint: endpoint.clone(),
            options: options.clone(),
            session: None,
            forwards: Arc::default(),
        };
        if let Endpoint::Ssh {
            destination,
            host_keys,
        } = endpoint
        {
            let session = ssh::connect(destination, *host_keys, options).await;
            let session = session.map_err(|(kind, cause)| connection.error(kind, cause))?;
            connection.session = Some(Arc::new(session));
        }
        Ok(connection)
    }

    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// Runs a script of this crate on the pool.
    pub(super) async fn run(&self, script: &str) -> Result<Process, ConnectError> {
        let started = match &self.session {
            None => Process::local(script, self.options.local_home.as_deref()),
            Some(session) => Process::remote(script, session).await,
        };
        started.map_err(|cause| self.error(ConnectErrorKind::Lost, cause))
    }

    /// Makes an address of the pool reachable from here, for as long as the connection lasts.
    pub async fn forward(&self, remote: SocketAddr) -> Result<Forward, ConnectError> {
        let Some(session) = &self.session else {
            return Ok(Forward::Tcp(remote));
        };
        let number = self.forwards.fetch_add(1, Ordering::Relaxed);
        // Beside ssh's own control socket: a folder of this user only, gone with the session.
        let path = session
            .control_socket()
            .with_file_name(format!("f{number}"));
        let target = Socket::new(remote.ip().to_string(), remote.port());
        session
            .request_port_forward(ForwardType::Local, path.as_path(), target)
            .await
            .map_err(|error| self.error(ConnectErrorKind::Lost, ssh::words(&error)))?;
        Ok(Forward::Unix(path))
    }

    /// Ends the connection once the hives started through it have ended.
    pub async fn close(self) {
        if let Some(session) = self.session.and_then(Arc::into_inner) {
            // Nothing is lost when this fails: the master ends by itself when nobody uses it.
            session.close().await.ok();
        }
    }

    pub(super) fn error(&self, kind: ConnectErrorKind, cause: impl Into<String>) -> ConnectError {
        ConnectError {
            pool: self.pool.clone(),
            destination: self.endpoint.to_string(),
            kind,
            cause: cause.into(),
            help: kind.help(&self.endpoint, &self.options),
        }
    }
}
