//! Who gives content: the hub, or another pool.

use std::ops::Range;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use pool_core::model::ModelFile;
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::supply::{HubRepo, Peer};
use reqwest::StatusCode;
use reqwest::header::RANGE;

use crate::error::{Result, fail};
use crate::hub::{Repo, Trouble, innermost};

/// How long another pool may take to let itself be reached: it is near, or not there.
const REACH: Duration = Duration::from_secs(3);

/// How long a pool may give nothing.
const SILENCE: Duration = Duration::from_secs(10);

/// One that gives content.
#[derive(Debug)]
pub enum Supplier {
    Hub {
        repo: Repo,
        /// Its answers to a range have carried the length of the whole file.
        says_whole: AtomicBool,
    },
    Pool {
        peer: Peer,
        http: reqwest::Client,
    },
}

/// Why nothing more comes.
#[derive(Debug)]
pub struct Failure {
    pub error: HiveError,
    pub trouble: Trouble,
}

/// The bytes of a range, after `skip` others.
pub struct Body {
    pub stream: Pin<Box<dyn Stream<Item = std::result::Result<Bytes, Failure>> + Send>>,
    pub skip: u64,
}

impl Supplier {
    pub fn hub(hub: &HubRepo) -> Result<Self> {
        Ok(Self::Hub {
            repo: Repo::new(&hub.repo, &hub.commit, &hub.access)?,
            says_whole: AtomicBool::new(false),
        })
    }

    pub fn pool(peer: Peer) -> Result<Self> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(REACH)
            .read_timeout(SILENCE)
            .build()
            .map_err(|e| fail(ErrorCode::Io, format!("cannot ask other pools: {e}"), ""))?;
        Ok(Self::Pool { peer, http })
    }

    pub fn is_hub(&self) -> bool {
        matches!(self, Self::Hub { .. })
    }

    /// Its name for people.
    pub fn name(&self) -> String {
        match self {
            Self::Hub { .. } => "the hub".into(),
            Self::Pool { peer, .. } => format!("pool {}", peer.pool),
        }
    }

    /// Whether it may have the content of a file.
    pub fn gives(&self, file: &ModelFile) -> bool {
        match self {
            Self::Hub { .. } => true,
            Self::Pool { peer, .. } => peer.serving.contents.contains(&file.sha256),
        }
    }

    /// Opens a range of the content of a file.
    pub async fn open(
        &self,
        file: &ModelFile,
        range: Range<u64>,
    ) -> std::result::Result<Body, Failure> {
        match self {
            Self::Hub { repo, says_whole } => {
                let failure = |repo: &Repo, error| Failure {
                    trouble: Trouble::of(&error),
                    error: repo.explain(&error),
                };
                let (length, stream) = repo
                    .stream(&file.path, range.clone())
                    .await
                    .map_err(|error| failure(repo, error))?;
                // An answer that is as long as the file is the file, though a range of it was asked for.
                let is_whole = length == Some(file.size) && range.end - range.start != file.size;
                let skip = is_whole && !says_whole.load(Ordering::Relaxed);
                let repo = repo.clone();
                let stream = stream.map(move |item| item.map_err(|error| failure(&repo, error)));
                Ok(Body {
                    stream: stream.boxed(),
                    skip: if skip { range.start } else { 0 },
                })
            }
            Self::Pool { peer, http } => {
                let url = format!("http://{}/{}", peer.serving.address, file.sha256);
                let sent = http
                    .get(url)
                    .bearer_auth(peer.serving.token.expose())
                    .header(RANGE, format!("bytes={}-{}", range.start, range.end - 1))
                    .send()
                    .await;
                let response = sent.map_err(|error| self.lost(&error))?;
                if response.status() != StatusCode::PARTIAL_CONTENT {
                    let status = response.status();
                    return Err(Failure {
                        error: self.refusal(&format!("answers {status}")),
                        trouble: Trouble::Lasting,
                    });
                }
                let pool = peer.pool.clone();
                let stream = response.bytes_stream().map(move |item| {
                    item.map_err(|error| Failure {
                        error: gone(&format!("pool {pool}"), &error),
                        trouble: Trouble::Passing(None),
                    })
                });
                Ok(Body {
                    stream: stream.boxed(),
                    skip: 0,
                })
            }
        }
    }

    /// Learns that what looked like a whole file was the range that was asked for.
    pub fn gave_range(&self) {
        if let Self::Hub { says_whole, .. } = self {
            says_whole.store(true, Ordering::Relaxed);
        }
    }

    fn lost(&self, error: &reqwest::Error) -> Failure {
        Failure {
            error: gone(&self.name(), error),
            // A pool that cannot be reached has another that can take its place.
            trouble: if error.is_connect() {
                Trouble::Lasting
            } else {
                Trouble::Passing(None)
            },
        }
    }

    fn refusal(&self, what: &str) -> HiveError {
        fail(
            ErrorCode::Io,
            format!("{} {what}", self.name()),
            "apply again",
        )
    }
}

fn gone(name: &str, error: &reqwest::Error) -> HiveError {
    fail(
        ErrorCode::Io,
        format!("{name} cannot be reached: {}", innermost(error)),
        "can the pools reach each other? `advertise` of a pool says at which address",
    )
}
