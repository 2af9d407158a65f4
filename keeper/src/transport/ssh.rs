//! The system's OpenSSH: how it is called, and what it says when it fails.

use std::fs;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use openssh::{ControlPersist, Error, KnownHosts, Session, SessionBuilder};
use pool_core::digest::{Hasher, Sha256};
use tokio::sync::Semaphore;

use super::connection::{HostKeys, Options};
use super::control::{self, Place};
use super::error::ConnectErrorKind;
use super::process::Exit;

/// More handshakes at once are slower: each wants a core.
static HANDSHAKES: Semaphore = Semaphore::const_new(32);

/// A master that nobody uses for so many seconds ends by itself.
const IDLE: NonZeroUsize = NonZeroUsize::new(60).expect("not zero");

/// Logging in may wait for a person who touches a security key; not for ever.
const LOGIN: Duration = Duration::from_mins(1);

/// One TCP connection to a pool. Dropped without [`Login::close`], it ends, or is left to later runs.
#[derive(Debug)]
pub struct Login {
    pub session: Arc<Session>,
    /// Where later runs find it; none where it ends with this one.
    place: Option<Place>,
    /// An earlier run made it, and it may be dead without anybody having noticed.
    pub is_found: bool,
}

/// Takes the connection that an earlier run left, unless it is to be a new one; else logs in.
pub async fn connect(
    destination: &str,
    host_keys: HostKeys,
    options: &Options,
    anew: bool,
) -> Result<Login, (ConnectErrorKind, String)> {
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
    let other = |cause| (ConnectErrorKind::Other, cause);
    let folder = control::folder().map_err(other)?;
    builder.control_directory(folder);

    let place = options
        .persist
        .then(|| Place::new(folder, &key(destination, host_keys, options)));
    let found = place.as_ref().filter(|_| !anew).and_then(Place::find);
    if let Some(socket) = found {
        return Ok(Login {
            session: Arc::new(resume(socket)),
            place,
            is_found: true,
        });
    }
    let _turn = HANDSHAKES.acquire().await;
    let login = builder.connect_mux(host.trim_matches(['[', ']']));
    let login = tokio::time::timeout(options.connect_timeout + LOGIN, login).await;
    let login = login.map_err(|_| {
        let cause = "the login did not finish".to_owned();
        (ConnectErrorKind::Timeout, cause)
    })?;
    let mut session = login.map_err(|error| ConnectErrorKind::of(&error))?;
    if let Some(place) = &place {
        let socket = session.control_socket();
        let shared = place.share(socket);
        shared.map_err(|error| other(format!("cannot write {}: {error}", folder.display())))?;
        let (socket, _) = session.detach();
        session = resume(socket.into());
    }
    Ok(Login {
        session: Arc::new(session),
        place,
        is_found: false,
    })
}

/// Talks to a master without ending it.
fn resume(socket: PathBuf) -> Session {
    let log = socket.with_file_name("log");
    Session::resume_mux(socket.into(), Some(log.into()))
}

/// Names everything that connections differ by. Where ssh's configuration includes other files, a change of those counts
/// only once the master has ended.
fn key(destination: &str, host_keys: HostKeys, options: &Options) -> String {
    let mut hasher = Hasher::default();
    let interval = options.alive_interval;
    hasher.update(format!("{destination}\n{host_keys:?}\n{interval:?}\n"));
    let files = match &options.ssh_config {
        Some(file) => vec![file.clone()],
        None => std::env::home_dir()
            .map(|home| home.join(".ssh/config"))
            .into_iter()
            .chain(["/etc/ssh/ssh_config".into()])
            .collect(),
    };
    for file in files {
        hasher.update(format!("{}\n", file.display()));
        hasher.update(Sha256::of(fs::read(&file).unwrap_or_default()).as_bytes());
    }
    hasher.finish().short()
}

impl Login {
    /// The home of rbee on the pool, as the run found it that made the connection.
    pub fn known_home(&self) -> Option<String> {
        let known = self.is_found.then(|| self.home_file())?;
        fs::read_to_string(known)
            .ok()
            .filter(|home| crosses_every_shell(home))
    }

    /// Tells it to those that use the connection later. Should that fail, they look for themselves.
    pub fn learn(&self, home: &str) {
        if self.place.is_some() && crosses_every_shell(home) {
            fs::write(self.home_file(), home).ok();
        }
    }

    fn home_file(&self) -> PathBuf {
        self.session.control_socket().with_file_name("home")
    }

    /// Ends the connection, where no later run would find it.
    pub async fn close(self) {
        let socket = self.session.control_socket().to_owned();
        let stays = |place: &Place| self.is_found || place.is_shared(&socket);
        if self.place.as_ref().is_some_and(stays) {
            return;
        }
        // Nothing is lost when this fails: the master ends by itself when nobody uses it.
        if let Some(session) = Arc::into_inner(self.session) {
            session.close().await.ok();
        }
        if let (Some(_), Some(folder)) = (self.place, socket.parent()) {
            fs::remove_dir_all(folder).ok();
        }
    }
}

/// Whether a path means the same to sh, fish and csh once it is quoted.
fn crosses_every_shell(path: &str) -> bool {
    path.starts_with('/') && !path.contains(|c: char| c.is_control() || "'!\\".contains(c))
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
