//! Where the content of a model's files comes from: the hub, or another pool.

mod access;

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::name::PoolName;

/// A text that is written to a connection and nowhere else: its debug form hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Which hub, and as whom.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubAccess {
    /// The address of a mirror, as `HF_ENDPOINT` has it; the pool's own setting, else the hub, where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// A repository of the hub at one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HubRepo {
    /// `ORG/NAME`.
    pub repo: String,
    pub commit: String,
    #[serde(flatten)]
    pub access: HubAccess,
}

/// A pool that serves contents for as long as the call that asked it to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub pool: PoolName,
    #[serde(flatten)]
    pub serving: Serving,
}

/// What a pool serves, where, and to whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Serving {
    /// `GET /<sha256>` there gives a content, with ranges.
    pub address: SocketAddr,
    /// The bearer token of this call alone.
    pub token: Secret,
    pub contents: Vec<Sha256>,
}

/// Where a pool may be reached by other pools.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interface {
    /// At this address of its own.
    At(IpAddr),
    /// At that of its addresses from which its machine would talk to this one.
    Towards(IpAddr),
}

/// Bytes a second at which content came to a pool the last time, from each kind of place.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Rates {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hub: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pools: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operator: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_sent_and_never_shown() {
        let access = HubAccess {
            endpoint: None,
            token: Some(Secret::new("hf_abc")),
        };
        assert!(!format!("{access:?}").contains("hf_abc"));
        let sent = serde_json::to_string(&access).unwrap();
        assert_eq!(sent, r#"{"token":"hf_abc"}"#);
        assert_eq!(serde_json::from_str::<HubAccess>(&sent).unwrap(), access);
    }
}
