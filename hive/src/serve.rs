//! Gives contents to other pools, over HTTP, for as long as the operator's call lasts.
//!
//! `GET /<sha256>` with the call's bearer token gives a content, whole or one range of it. Nothing else is served.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::{Arc, Weak};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT_RANGES, AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use futures::StreamExt as _;
use pool_core::digest::Sha256;
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::supply::{Interface, Secret, Serving};
use rustix::buffer::spare_capacity;
use rustix::io::pread;
use subtle::ConstantTimeEq as _;
use tokio::net::TcpListener;
use tokio::task::spawn_blocking;

use crate::error::{Result, fail, io_error};
use crate::home::Home;

/// Bytes that are read at a time.
const PIECE: usize = 128 << 10;

/// What is served, while it is.
#[derive(Debug)]
struct Session {
    home: Home,
    token: Secret,
    contents: BTreeSet<Sha256>,
}

/// A listener with what it gives. All ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    session: Arc<Session>,
}

impl Server {
    /// Listens, to give those of the contents that are here.
    pub async fn open(home: &Home, contents: Vec<Sha256>, interface: Interface) -> Result<Self> {
        let listen = async || {
            let listener = TcpListener::bind((own(interface)?, 0)).await?;
            let address = listener.local_addr()?;
            Ok((listener, address))
        };
        let (listener, address) = listen().await.map_err(|e| cannot(&e))?;
        let here = contents
            .into_iter()
            .filter(|sha256| home.blob(sha256).is_file());
        Ok(Self {
            listener,
            address,
            session: Arc::new(Session {
                home: home.clone(),
                token: token()?,
                contents: here.collect(),
            }),
        })
    }

    /// What whoever wants the contents must know.
    pub fn serving(&self) -> Serving {
        Serving {
            address: self.address,
            token: self.session.token.clone(),
            contents: self.session.contents.iter().copied().collect(),
        }
    }

    pub async fn run(self) -> Result<Infallible> {
        let router = Router::new()
            .route("/{sha256}", get(content))
            .with_state(Arc::downgrade(&self.session));
        let ended = axum::serve(self.listener, router).await;
        Err(cannot(&ended.err().unwrap_or(io::ErrorKind::Other.into())))
    }
}

fn cannot(error: &io::Error) -> HiveError {
    fail(
        ErrorCode::Io,
        format!("cannot serve other pools: {error}"),
        "`advertise` of the pool names an address of its own that other pools reach",
    )
}

/// The address of this machine that is meant.
fn own(interface: Interface) -> io::Result<IpAddr> {
    match interface {
        Interface::At(address) => Ok(address),
        Interface::Towards(other) => {
            let any: IpAddr = match other {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            };
            // Sends nothing: the system only chooses the way. The port is that of `discard`.
            let socket = UdpSocket::bind((any, 0))?;
            socket.connect(SocketAddr::new(other, 9))?;
            Ok(socket.local_addr()?.ip())
        }
    }
}

/// 256 bits that nobody guesses, in hexadecimal digits.
pub(crate) fn token() -> Result<Secret> {
    let mut bytes = [0; 32];
    let path = std::path::Path::new("/dev/urandom");
    File::open(path)
        .and_then(|mut random| io::Read::read_exact(&mut random, &mut bytes))
        .map_err(|e| io_error("read", path, &e))?;
    Ok(Secret::new(Sha256::of(bytes).to_string()))
}

async fn content(
    State(session): State<Weak<Session>>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(now) = session.upgrade() else {
        return StatusCode::GONE.into_response();
    };
    if !is_allowed(&headers, &now.token) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    let found = sha256
        .parse()
        .ok()
        .filter(|sha256| now.contents.contains(sha256));
    let opened = found.and_then(|sha256| open(&now.home, &sha256).ok());
    let Some((file, size)) = opened else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let range = match headers
        .get(RANGE)
        .map(|range| parse(range.to_str().ok()?, size))
    {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => {
            let all = [(CONTENT_RANGE, format!("bytes */{size}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, all).into_response();
        }
    };
    let status = if range.is_some() {
        StatusCode::PARTIAL_CONTENT
    } else {
        StatusCode::OK
    };
    let given = range.clone().unwrap_or(0..size);
    let length = (given.end - given.start).to_string();
    let mut response = (
        status,
        [(CONTENT_LENGTH, length)],
        body(session, file, given),
    )
        .into_response();
    let headers = response.headers_mut();
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(range) = range {
        let text = format!("bytes {}-{}/{size}", range.start, range.end - 1);
        if let Ok(value) = text.try_into() {
            headers.insert(CONTENT_RANGE, value);
        }
    }
    response
}

fn is_allowed(headers: &HeaderMap, token: &Secret) -> bool {
    let shown = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let shown = shown.and_then(|shown| shown.strip_prefix(b"Bearer "));
    shown.is_some_and(|shown| shown.ct_eq(token.expose().as_bytes()).into())
}

fn open(home: &Home, sha256: &Sha256) -> io::Result<(File, u64)> {
    let file = File::open(home.blob(sha256))?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// One range of `bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-COUNT` (RFC 9110, section 14.1.2).
fn parse(text: &str, size: u64) -> Option<Range<u64>> {
    let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
    let range = match (first, last) {
        ("", count) => size.saturating_sub(count.parse().ok()?)..size,
        (first, "") => first.parse().ok()?..size,
        (first, last) => first.parse().ok()?..last.parse::<u64>().ok()?.saturating_add(1).min(size),
    };
    (range.start < range.end).then_some(range)
}

/// The bytes of a range, for as long as the session lasts. The next piece is read while one is sent.
fn body(session: Weak<Session>, file: File, range: Range<u64>) -> Body {
    let file = Arc::new(file);
    let starts = range.clone().step_by(PIECE);
    let pieces = futures::stream::iter(starts).map(move |start| {
        let (session, file) = (session.clone(), Arc::clone(&file));
        let length = PIECE.min((range.end - start) as usize);
        async move {
            let read = spawn_blocking(move || read(&file, start, length));
            let bytes = read.await.map_err(io::Error::other)??;
            // Read last, so that nothing is given once the session is over.
            match session.strong_count() {
                0 => Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                _ => Ok(bytes),
            }
        }
    });
    Body::from_stream(pieces.buffered(4))
}

fn read(file: &File, start: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = start + bytes.len() as u64;
        if pread(file, spare_capacity(&mut bytes), at)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    // There may have been more room than was asked for.
    bytes.truncate(length);
    Ok(bytes.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        for (text, range) in [
            ("bytes=0-0", Some(0..1)),
            ("bytes=5-", Some(5..10)),
            ("bytes=5-99", Some(5..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=10-", None),
            ("bytes=7-6", None),
            ("bytes=-0", None),
            ("bytes=a-b", None),
            ("bytes=18446744073709551615-18446744073709551615", None),
            ("lines=0-1", None),
        ] {
            assert_eq!(parse(text, 10), range, "{text}");
        }
    }
}
