//! The hub that models come from, and its mirrors: `hf-hub` speaks with it.

mod error;
mod head;
mod patience;
mod resolve;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use hf_hub::{HFClient, HFError, HFRepository, RepoTypeModel};
use pool_core::path::FilePath;
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::supply::{HubAccess, Secret};
use reqwest::redirect::Policy;

use crate::error::{Result, fail};

pub use error::{Trouble, innermost};
pub use patience::Patience;
pub use resolve::resolve;

/// Where models are looked for when nobody says.
const HUB: &str = "https://huggingface.co";

/// How long a connection may take to open, and how long nothing may come over it.
const SILENCE: Duration = Duration::from_secs(20);

/// What the hub answers.
pub type Asked<T> = std::result::Result<T, HFError>;

/// A repository of models, asked over connections that are kept.
#[derive(Debug, Clone)]
pub struct Repo {
    /// `ORG/NAME`.
    pub name: String,
    pub commit: String,
    files: HFRepository<RepoTypeModel>,
    endpoint: String,
    token: Option<Secret>,
    /// Follows no redirect.
    http: reqwest::Client,
}

impl Repo {
    /// A repository at a commit, or at whatever else names one. Asks nothing yet.
    pub fn new(name: &str, commit: &str, access: &HubAccess) -> Result<Self> {
        let http = |redirects| {
            reqwest::Client::builder()
                .connect_timeout(SILENCE)
                .read_timeout(SILENCE)
                .redirect(redirects)
                .user_agent(concat!("rbee/", env!("CARGO_PKG_VERSION")))
                .build()
                .map_err(|e| unusable(&e.to_string()))
        };
        // It gives up at once: who asks knows better what was done already.
        let mut client = HFClient::builder()
            .client(http(Policy::default())?)
            .cache_enabled(false)
            .retry_max_attempts(0);
        let named = std::env::var("HF_ENDPOINT").ok();
        let named = named.filter(|endpoint| !endpoint.trim().is_empty());
        let endpoint = access.endpoint.clone().or(named);
        client = client.endpoint(endpoint.unwrap_or_else(|| HUB.to_owned()));
        if let Some(token) = &access.token {
            client = client.token(token.expose());
        }
        let client = client.build().map_err(|e| unusable(&e.to_string()))?;
        let (owner, short) = hf_hub::split_id(name);
        Ok(Self {
            name: name.to_owned(),
            commit: commit.to_owned(),
            endpoint: client.endpoint().to_owned(),
            token: access.token.clone(),
            http: http(Policy::none())?,
            files: client.model(owner, short),
        })
    }

    /// The bytes of a file from `range`, and how many the hub says that they are.
    pub async fn stream(
        &self,
        path: &FilePath,
        range: Range<u64>,
    ) -> Asked<(
        Option<u64>,
        impl Stream<Item = Asked<Bytes>> + Send + Unpin + use<>,
    )> {
        self.files
            .download_file_stream()
            .filename(path.as_str())
            .revision(self.commit.as_str())
            .range(range)
            .send()
            .await
    }

    /// What a failure of the hub means for whoever wanted something of this repository.
    pub fn explain(&self, error: &HFError) -> HiveError {
        error::explain(self, error)
    }

    /// The page of the repository for people.
    fn page(&self) -> String {
        format!("{}/{}", self.endpoint, self.name)
    }
}

fn unusable(cause: &str) -> HiveError {
    fail(
        ErrorCode::HubFailed,
        format!("the hub cannot be asked: {cause}"),
        "is HF_ENDPOINT an address such as https://huggingface.co?",
    )
}
