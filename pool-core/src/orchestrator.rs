//! What an orchestrator should be, and what one is.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::digest::Sha256;
use crate::name::FleetName;
use crate::registration::BaseUrl;
use crate::worker::{ProcessIdentity, Supervise, WorkerState};

/// How many tasks may wait for each model.
pub const QUEUE: RangeInclusive<u32> = 1..=100_000;

/// How long running streams may go on once an orchestrator was told to stop.
pub const DRAIN: Duration = Duration::from_secs(25);

/// Everything that decides what the orchestrator of a fleet is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrchestratorSpec {
    pub fleet: FleetName,
    pub listen: SocketAddr,
    #[serde(default, skip_serializing_if = "Supervise::is_none")]
    pub supervise: Supervise,
    #[serde(flatten)]
    pub settings: Settings,
    /// The files that it has; what they hold may change while it runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub files: BTreeSet<ConfigFile>,
}

impl OrchestratorSpec {
    /// SHA-256 of the spec as JSON: differs when any field does.
    pub fn hash(&self) -> Sha256 {
        Sha256::of_json(self)
    }

    /// Where it is reached from its own machine.
    pub fn local_url(&self) -> BaseUrl {
        SocketAddr::new(local(self.listen.ip()), self.listen.port()).into()
    }

    /// Whether both cannot listen at the same time.
    pub fn is_in_the_way_of(&self, other: &Self) -> bool {
        let (mine, other) = (self.listen, other.listen);
        let is_any = mine.ip().is_unspecified() || other.ip().is_unspecified();
        mine.port() == other.port() && (is_any || mine.ip() == other.ip())
    }
}

/// The address at which a listener is reached from its own machine.
fn local(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// How it goes about its work; each has a default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Settings {
    pub store: StoreKind,
    pub scheduling: Scheduling,
    /// Tasks that may wait, for each model.
    #[schemars(range(min = *QUEUE.start(), max = *QUEUE.end()))]
    pub queue: u32,
    pub when_full: WhenFull,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store: StoreKind::Sqlite,
            scheduling: Scheduling::LeastLoaded,
            queue: 100,
            when_full: WhenFull::Reject,
        }
    }
}

/// Declares an enum of words with their spelling in fleet.yaml and on command lines.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $noun:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[schemars(inline)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl FromStr for $name {
            type Err = InvalidWord;

            fn from_str(text: &str) -> Result<Self, InvalidWord> {
                let mut all = Self::ALL.iter().copied();
                all.find(|word| word.as_str() == text).ok_or_else(|| InvalidWord {
                    text: text.to_owned(),
                    noun: $noun,
                    words: concat!($("`", $word, "` "),*).trim_end(),
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

/// The text is none of the words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {noun}: it is one of {words}")]
pub struct InvalidWord {
    pub text: String,
    noun: &'static str,
    words: &'static str,
}

words! {
    /// A file of the operator's that an orchestrator reads again whenever it changes.
    ConfigFile, "file of an orchestrator" {
        /// Who may use it, and how much.
        Tenants = "tenants",
        /// Scripts that decide in the place of what is built in.
        Policy = "policy",
    }
}

impl ConfigFile {
    /// Its name on the pool.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Tenants => "tenants.yaml",
            Self::Policy => "policy.rhai",
        }
    }
}

words! {
    /// Where tasks are kept.
    StoreKind, "store" {
        /// A file: a restart loses no accepted task.
        Sqlite = "sqlite",
        /// Nowhere: a restart loses them all.
        Memory = "memory",
    }
}

words! {
    /// Which of the workers that could take a task does.
    Scheduling, "way to schedule" {
        RoundRobin = "round-robin",
        /// The one with the fewest tokens left to do, by the speed that it showed.
        LeastLoaded = "least-loaded",
        MostFreeMemory = "most-free-memory",
    }
}

words! {
    /// What happens to a task that finds its queue full.
    WhenFull, "policy for a full queue" {
        /// It is refused.
        Reject = "reject",
        /// It takes the place of the task that has waited longest.
        DropOldest = "drop-oldest",
        /// An interactive one takes the place of the youngest batch task.
        ShedBatch = "shed-batch",
    }
}

/// `orchestrators/<fleet>.json` of a pool: the process, from the moment before it is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrchestratorRecord {
    pub version: u32,
    pub spec_hash: Sha256,
    #[serde(flatten)]
    pub spec: OrchestratorSpec,
    /// The process, once it is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessIdentity>,
    pub started_at: Timestamp,
    pub state: WorkerState,
    /// Its log file on the pool.
    pub log: String,
    /// The program that was started, by absolute path: an upgrade leaves it in place.
    pub program: String,
    /// Why it failed, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl OrchestratorRecord {
    /// The version that this build reads and writes.
    pub const VERSION: u32 = 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(listen: &str) -> OrchestratorSpec {
        OrchestratorSpec {
            fleet: "home".parse().unwrap(),
            listen: listen.parse().unwrap(),
            supervise: Supervise::None,
            settings: Settings::default(),
            files: BTreeSet::new(),
        }
    }

    #[test]
    fn a_listener_for_all_is_reached_over_loopback() {
        for (listen, url) in [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:9000", "http://127.0.0.1:9000"),
            ("[::]:9000", "http://[::1]:9000"),
            ("192.168.1.5:1", "http://192.168.1.5:1"),
        ] {
            assert_eq!(spec(listen).local_url().as_str(), url);
        }
    }

    #[test]
    fn two_listeners_are_in_the_way_of_each_other_where_port_and_address_meet() {
        let meets = |a: &str, b: &str| spec(a).is_in_the_way_of(&spec(b));
        assert!(meets("127.0.0.1:1", "127.0.0.1:1") && meets("0.0.0.0:1", "10.0.0.1:1"));
        assert!(!meets("127.0.0.1:1", "127.0.0.1:2") && !meets("10.0.0.1:1", "127.0.0.1:1"));
    }

    #[test]
    fn a_spec_reads_back_and_what_it_does_not_say_is_the_default() {
        let text = r#"{"fleet":"home","listen":"127.0.0.1:8080","queue":7}"#;
        let read: OrchestratorSpec = serde_json::from_str(text).unwrap();
        let mut wanted = spec("127.0.0.1:8080");
        wanted.settings.queue = 7;
        assert_eq!(read, wanted);
        assert_ne!(read.hash(), spec("127.0.0.1:8080").hash());
        let written = serde_json::to_string(&read).unwrap();
        assert_eq!(
            serde_json::from_str::<OrchestratorSpec>(&written).unwrap(),
            read
        );
    }

    #[test]
    fn a_word_that_is_none_names_those_that_are() {
        for word in WhenFull::ALL {
            assert_eq!(word.to_string().parse(), Ok(*word));
        }
        let error = "newest".parse::<WhenFull>().unwrap_err().to_string();
        assert_eq!(
            error,
            "`newest` is no policy for a full queue: it is one of `reject` `drop-oldest` `shed-batch`"
        );
    }
}
