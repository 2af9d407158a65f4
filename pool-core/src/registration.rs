//! How the workers of a fleet and their orchestrator find and trust each other.
//!
//! Each pool holds one link file a fleet, [`FleetLink`], written by its hive and read again whenever it changes: so the
//! orchestrator can come, move and go without a worker being restarted.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::WorkerAddress;
use crate::device::Device;
use crate::digest::Sha256;
use crate::name::{FleetName, ModelId, WorkerId};
use crate::serving::{MemoryUse, Phase, Slots};
use crate::supply::Secret;

/// How often a worker registers.
pub const HEARTBEAT: Duration = Duration::from_secs(15);

/// After so many heartbeats that did not come a worker is gone.
pub const MISSED: u32 = 3;

/// `fleets/<fleet>.json` of a pool, readable by its owner only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FleetLink {
    /// What workers and orchestrator show each other as a bearer token.
    pub token: Secret,
    /// Where workers register; nowhere when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orchestrator: Option<BaseUrl>,
}

impl FleetLink {
    /// Tells the tokens of a fleet apart without giving any of them away: they have 256 bits of chance.
    pub fn fingerprint(&self, fleet: &FleetName) -> Sha256 {
        Sha256::of_json(&("rbee fleet token", fleet, self.token.expose()))
    }
}

/// `POST /v2/workers/register`: what a worker says of itself, first and as a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registration {
    /// Unique on its pool.
    pub worker_id: WorkerId,
    /// Where it stands in its fleet; none when a person started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<WorkerAddress>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet: Option<FleetName>,
    /// Where it is reached.
    pub url: BaseUrl,
    pub model: ModelId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_digest: Option<Sha256>,
    pub device: Device,
    pub status: Phase,
    pub slots: Slots,
    pub memory: MemoryUse,
    /// Bytes of its device that nobody uses, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_free: Option<u64>,
    /// Most tokens of prompt and answer together; absent while the model loads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_length: Option<u64>,
    /// Microseconds that one token of one request took lately.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub us_per_token: Option<u64>,
    pub version: String,
}

/// The answer to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Registered {
    /// Milliseconds until the next one is wanted.
    pub heartbeat_ms: u64,
}

/// `http://HOST:PORT`, without a path.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
pub struct BaseUrl(String);

/// The text is not a base URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not `http://HOST:PORT`")]
pub struct InvalidUrl(pub String);

impl BaseUrl {
    /// `HOST:PORT`.
    pub fn authority(&self) -> &str {
        self.0.trim_start_matches("http://")
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for BaseUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let invalid = || InvalidUrl(text.to_owned());
        let plain = text.trim_end_matches('/');
        let authority = plain.strip_prefix("http://").ok_or_else(invalid)?;
        let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
        let is_host = if let Some(v6) = host.strip_prefix('[') {
            v6.strip_suffix(']')
                .is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_ok())
        } else {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
            !host.is_empty() && host.chars().all(plain)
        };
        let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
        if is_host && is_port {
            Ok(Self(plain.to_owned()))
        } else {
            Err(invalid())
        }
    }
}

impl TryFrom<String> for BaseUrl {
    type Error = InvalidUrl;

    fn try_from(text: String) -> Result<Self, InvalidUrl> {
        text.parse()
    }
}

impl From<BaseUrl> for String {
    fn from(url: BaseUrl) -> Self {
        url.0
    }
}

impl From<std::net::SocketAddr> for BaseUrl {
    fn from(address: std::net::SocketAddr) -> Self {
        Self(format!("http://{address}"))
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_url_is_a_host_and_a_port() {
        for good in [
            "http://127.0.0.1:8080",
            "http://mac.home.arpa:80/",
            "http://[::1]:8080",
        ] {
            let url: BaseUrl = good.parse().unwrap();
            assert_eq!(url.as_str(), good.trim_end_matches('/'));
        }
        for bad in [
            "",
            "mac:8080",
            "https://mac:8080",
            "http://mac",
            "http://:80",
            "http://mac:0",
            "http://mac:80/v1",
            "http://a b:80",
            "http://u@mac:80",
            "http://[zz]:80",
        ] {
            assert_eq!(
                bad.parse::<BaseUrl>(),
                Err(InvalidUrl(bad.to_owned())),
                "{bad}"
            );
        }
    }
}
