//! What is: each pool's answer, or why there is none.

use std::collections::BTreeMap;

use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use pool_core::observation::{Platform, PoolObservation};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answers of all pools that were asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    pub pools: BTreeMap<PoolName, PoolState>,
}

/// One pool's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum PoolState {
    /// Its hive answered.
    Known(Box<PoolObservation>),
    /// It was reached and has no hive that runs.
    Bare(Bare),
    /// It did not answer, or not with an observation. Nothing is known of it, least of all that
    /// something is not there.
    Unknown(Unknown),
}

/// A pool without a working hive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bare {
    pub platform: Platform,
    /// The build that is installed and does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installed: Option<Sha256>,
    /// Why it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken: Option<String>,
}

/// Why nothing is known of a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Unknown {
    /// The pool was not reached; otherwise it was, and its hive refused.
    pub unreachable: bool,
    pub cause: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}
