//! What an action of a plan relied on, as fingerprints that the plan carries and the pool compares.
//!
//! A fingerprint covers what makes a thing what it is, and nothing that changes while it stays the same: the process of a
//! worker, not whether it answers just now.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::WorkerAddress;
use crate::digest::Sha256;
use crate::model::CatalogEntry;
use crate::name::{FleetName, ModelId, WorkerId};
use crate::observation::ObservedLink;
use crate::orchestrator::{ConfigFile, OrchestratorRecord};
use crate::worker::WorkerRecord;

/// One thing of a pool as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Fact {
    pub about: About,
    /// None where there was no such thing.
    pub was: Option<Sha256>,
}

/// Which thing of the pool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The installed build.
    Programs,
    /// The entry of the catalog.
    Model(ModelId),
    /// The workers of the fleet at an address.
    Place(WorkerAddress),
    Worker(WorkerId),
    /// The orchestrator of the fleet.
    Orchestrator,
    /// What the workers of the fleet know of their orchestrator.
    Link,
    /// A file that the orchestrator of the fleet is given: the digest of what it holds.
    Config(ConfigFile),
}

impl std::fmt::Display for About {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Programs => f.write_str("the installed programs"),
            Self::Model(model) => write!(f, "the model {model}"),
            Self::Place(address) => write!(f, "what runs at {address}"),
            Self::Worker(worker) => write!(f, "the worker {worker}"),
            Self::Orchestrator => f.write_str("the orchestrator"),
            Self::Link => f.write_str("the link to the orchestrator"),
            Self::Config(file) => write!(f, "the file of the orchestrator's {file}"),
        }
    }
}

/// The catalog entry: owner, content, whether it is whole, and whether it is protected.
pub fn model(entry: &CatalogEntry) -> Sha256 {
    Sha256::of_json(&(&entry.fleet, &entry.digest, entry.downloaded, entry.protect))
}

/// A worker: owner, what it should be, and its process where no supervisor starts others.
pub fn worker(record: &WorkerRecord) -> Sha256 {
    let process = record.process.as_ref();
    let process = process.filter(|_| record.spec.supervise.is_none());
    Sha256::of_json(&(
        &record.id,
        &record.spec.fleet,
        &record.spec_hash,
        record.protect,
        process,
    ))
}

/// An orchestrator: owner, what it should be, its program, and its process where no supervisor starts others.
pub fn orchestrator(record: &OrchestratorRecord) -> Sha256 {
    let spec = &record.spec;
    let process = record.process.as_ref();
    let process = process.filter(|_| spec.supervise.is_none());
    Sha256::of_json(&(&spec.fleet, &record.spec_hash, &record.program, process))
}

/// A link: where it leads, and with which token.
pub fn link(link: &ObservedLink) -> Sha256 {
    Sha256::of_json(link)
}

/// All workers of a fleet at an address; none where there is none.
pub fn place<'a>(
    fleet: &FleetName,
    address: &WorkerAddress,
    records: impl IntoIterator<Item = &'a WorkerRecord>,
) -> Option<Sha256> {
    let stands_there = |record: &&WorkerRecord| {
        record.spec.address.as_ref() == Some(address) && record.spec.fleet.as_ref() == Some(fleet)
    };
    let mut found: Vec<Sha256> = records
        .into_iter()
        .filter(stands_there)
        .map(worker)
        .collect();
    found.sort_unstable();
    (!found.is_empty()).then(|| Sha256::of_json(&found))
}
