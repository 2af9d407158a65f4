//! The system's OpenSSH: how it is called, and what it says when it fails.

use std::fs;
use std::num::NonZeroUsize;
use std::process::ExitStatus;
use std::time::Duration;

use openssh::{ControlPersist, Error, KnownHosts, Session, SessionBuilder};
use pool_core::name::PoolName;
use tokio::sync::Semaphore;

use super::connection::{Endpoint, HostKeys, Options};
use super::control;
use super::error::{ConnectError, ConnectErrorKind};
use super::process::Exit;

/// More handshakes at once are slower: each wants a core.
static HANDSHAKES: Semaphore = Semaphore::const_new(32);

/// A master that nobody uses ends by itself, such as that of a killed run.
const IDLE: NonZeroUsize = NonZeroUsize::new(60).expect("not zero");

/// Logging in may wait for a person who touches a security key; not for ever.
const LOGIN: Duration = Duration::from_mins(1);

/// One TCP connection to a pool.
pub async fn connect(
    pool: &PoolName,
    endpoint: &Endpoint,
    options: &Options,
) -> Result<Session, ConnectError> {
    let fail = |kind, cause: String| ConnectError::new(pool, endpoint, options, kind, cause);
    let Endpoint::Ssh {
        destination,
        host_keys,
    } = endpoint
    else {
        let cause = "a local pool needs no ssh".to_owned();
        return Err(fail(ConnectErrorKind::Other, cause));
    };
    let mut builder = SessionBuilder::default();
    builder
        .known_hosts_check(match host_keys {
            HostKeys::Strict => KnownHosts::Strict,
            HostKeys::AcceptNew => KnownHosts::Add,
        })
        .connect_timeout(options.connect_timeout)
        .server_alive_interval(options.alive_interval)
        .control_persist(ControlPersist::IdleFor(IDLE));
    if let Some(config) = &options.ssh_config {
        builder.config_file(config);
    }
    let (builder, host) = builder.resolve(destination);
    if !is_host(host) {
        let cause = format!("`{host}` is not a host name");
        return Err(fail(ConnectErrorKind::NameUnknown, cause));
    }
    let mut builder = builder.into_owned();
    let folder = control::folder().map_err(|error| fail(ConnectErrorKind::Other, error))?;
    builder.control_directory(folder);

    let _turn = HANDSHAKES.acquire().await;
    let login = builder.connect_mux(host.trim_matches(['[', ']']));
    match tokio::time::timeout(options.connect_timeout + LOGIN, login).await {
        Ok(Ok(session)) => Ok(session),
        Ok(Err(error)) => Err(ConnectError::from_ssh(pool, endpoint, options, &error)),
        Err(_) => Err(fail(
            ConnectErrorKind::Timeout,
            "the login did not finish".to_owned(),
        )),
    }
}

/// ssh takes a host that starts with `-` for an option, and older ones hand it unquoted to the shell of a
/// `ProxyCommand`; a fleet file may come from a stranger's pull request.
fn is_host(host: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:%[]@".contains(c);
    !host.is_empty() && !host.starts_with('-') && host.chars().all(plain)
}

/// What ssh, or the crate that drives it, says about a failure.
pub fn words(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// How a remote process ended. The crate tells a lost connection from a killed process only by asking
/// the master again.
pub async fn exit(waited: Result<ExitStatus, Error>, session: &Session) -> Exit {
    match waited {
        Ok(status) => status.code().map_or(Exit::Killed, Exit::Code),
        // The crate takes the shell's 127 for an error of its own.
        Err(Error::Remote(_)) => Exit::Code(127),
        Err(_) if session.check().await.is_ok() => Exit::Killed,
        Err(_) => Exit::Lost(last_words(session)),
    }
}

/// The last line of the log that ssh keeps beside its control socket.
fn last_words(session: &Session) -> String {
    let log = session.control_socket().with_file_name("log");
    let log = fs::read_to_string(log).unwrap_or_default();
    let last = log
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty());
    last.unwrap_or("closed by the other side").to_owned()
}
