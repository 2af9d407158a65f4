//! One pool, reached: by child processes when it is this machine, else through one SSH connection.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openssh::{ForwardType, Socket};
use pool_core::name::PoolName;
use serde::{Deserialize, Serialize};

use super::error::{ConnectError, ConnectErrorKind};
use super::process::Process;
use super::ssh::{self, Login};

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
    /// Whether connections are left to later runs for a minute, and those of earlier runs are used.
    pub persist: bool,
    /// `RBEE_HOME` of the local pool, where it is not this process's own.
    pub local_home: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ssh_config: None,
            connect_timeout: Duration::from_secs(10),
            alive_interval: Duration::from_secs(3),
            start_timeout: Duration::from_secs(30),
            persist: true,
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
    login: Option<Arc<Login>>,
    /// Sockets here, and what of the pool is reached by each.
    forwards: Arc<Mutex<Vec<(PathBuf, SocketAddr)>>>,
}

impl Connection {
    /// Connects, and logs in where the pool is another machine that no earlier run left a connection to.
    pub async fn connect(
        pool: &PoolName,
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        Self::begin(pool, endpoint, options, false).await
    }

    /// Connects by a login of its own, which later runs may use.
    pub(super) async fn connect_anew(
        pool: &PoolName,
        endpoint: &Endpoint,
        options: &Options,
    ) -> Result<Self, ConnectError> {
        Self::begin(pool, endpoint, options, true).await
    }

    async fn begin(
        pool: &PoolName,
        endpoint: &Endpoint,
        options: &Options,
        anew: bool,
    ) -> Result<Self, ConnectError> {
        let mut connection = Self {
            pool: pool.clone(),
            endpoint: endpoint.clone(),
            options: options.clone(),
            login: None,
            forwards: Arc::default(),
        };
        if let Endpoint::Ssh {
            destination,
            host_keys,
        } = endpoint
        {
            let login = ssh::connect(destination, *host_keys, options, anew).await;
            let login = login.map_err(|(kind, cause)| connection.error(kind, cause))?;
            connection.login = Some(Arc::new(login));
        }
        Ok(connection)
    }

    pub fn pool(&self) -> &PoolName {
        &self.pool
    }

    /// An earlier run made the connection.
    pub fn is_found(&self) -> bool {
        self.login.as_ref().is_some_and(|login| login.is_found)
    }

    /// Runs a script of this crate on the pool.
    pub(super) async fn run(&self, script: &str) -> Result<Process, ConnectError> {
        let started = match &self.login {
            None => Process::local(script, self.options.local_home.as_deref()),
            Some(login) => self.start(login, &["sh", "-c", script]).await,
        };
        started.map_err(|cause| self.error(ConnectErrorKind::Lost, cause))
    }

    async fn start(&self, login: &Login, argv: &[&str]) -> Result<Process, String> {
        let limit = self.options.start_timeout;
        let started = Process::remote(&login.session, argv);
        let started = tokio::time::timeout(limit, started).await;
        started.unwrap_or_else(|_| Err(format!("no answer for {} s", limit.as_secs())))
    }

    /// Starts the hive that an earlier run found over this connection, without a script that looks for it.
    pub(super) async fn start_known(&self) -> Option<Process> {
        let login = self.login.as_ref()?;
        let home = login.known_home()?;
        let program = format!("{home}/bin/current/rbee-hive");
        let argv = [&program, "rpc", "--home", &home];
        self.start(login, &argv).await.ok()
    }

    /// Tells later runs where the hive of the pool is.
    pub(super) fn learn(&self, home: &str) {
        if let Some(login) = &self.login {
            login.learn(home);
        }
    }

    /// Makes an address of the pool reachable from here, for as long as the connection is in use.
    pub async fn forward(&self, remote: SocketAddr) -> Result<Forward, ConnectError> {
        let Some(login) = &self.login else {
            return Ok(Forward::Tcp(remote));
        };
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Beside ssh's own control socket: a folder of this user only. Other runs may use the same.
        let name = format!("f{}-{number}", std::process::id());
        let path = login.session.control_socket().with_file_name(name);
        login
            .session
            .request_port_forward(ForwardType::Local, path.as_path(), socket(remote))
            .await
            .map_err(|error| self.error(ConnectErrorKind::Lost, ssh::words(&error)))?;
        self.forwards().push((path.clone(), remote));
        Ok(Forward::Unix(path))
    }

    fn forwards(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, SocketAddr)>> {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what this run has through the connection, once the hives started through it have ended; and the connection, unless
    /// it is for later runs.
    pub async fn close(self) {
        let forwards = std::mem::take(&mut *self.forwards());
        let Some(login) = self.login.and_then(Arc::into_inner) else {
            return;
        };
        for (path, remote) in forwards {
            let local = ForwardType::Local;
            let closed = login
                .session
                .close_port_forward(local, path.as_path(), socket(remote));
            closed.await.ok();
            std::fs::remove_file(path).ok();
        }
        login.close().await;
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

fn socket(address: SocketAddr) -> Socket<'static> {
    Socket::new(address.ip().to_string(), address.port())
}
