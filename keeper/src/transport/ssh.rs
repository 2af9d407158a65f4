//! The system's OpenSSH: how it is called, and what it says when it fails.

use std::fs;
use std::num::NonZeroUsize;
use std::process::ExitStatus;
use std::time::Duration;

use openssh::{ControlPersist, Error, KnownHosts, Session, SessionBuilder};
use tokio::sync::Semaphore;

use super::connection::{HostKeys, Options};
use super::control;
use super::error::ConnectErrorKind;
use super::process::Exit;

/// More handshakes at once are slower: each wants a core.
static HANDSHAKES: Semaphore = Semaphore::const_new(32);

/// A master that nobody uses ends by itself, such as that of a killed run.
const IDLE: NonZeroUsize = NonZeroUsize::new(60).expect("not zero");

/// Logging in may wait for a person who touches a security key; not for ever.
const LOGIN: Duration = Duration::from_mins(1);

/// One TCP connection to a pool.
pub async fn connect(
    destination: &str,
    host_keys: HostKeys,
    options: &Options,
) -> Result<Session, (ConnectErrorKind, String)> {
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
    let names = [Some(host), builder.get_user()];
    if let Some(odd) = names.into_iter().flatten().find(|name| !is_plain(name)) {
        let cause = format!("`{odd}` is not the name of a host or user");
        return Err((ConnectErrorKind::NameUnknown, cause));
    }
    let mut builder = builder.into_owned();
    let folder = control::folder().map_err(|cause| (ConnectErrorKind::Other, cause))?;
    builder.control_directory(folder);

    let _turn = HANDSHAKES.acquire().await;
    let login = builder.connect_mux(host.trim_matches(['[', ']']));
    let login = tokio::time::timeout(options.connect_timeout + LOGIN, login).await;
    let login = login.map_err(|_| {
        let cause = "the login did not finish".to_owned();
        (ConnectErrorKind::Timeout, cause)
    })?;
    login.map_err(|error| ConnectErrorKind::of(&error))
}

/// ssh takes a host that starts with `-` for an option, and hands names unquoted to the shell of a
/// `ProxyCommand` or `Match exec`; a fleet file may come from a stranger's pull request.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-:%[]".contains(c);
    !name.is_empty() && !name.starts_with('-') && name.chars().all(plain)
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
