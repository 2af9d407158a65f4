//! Values that fleet.yaml alone knows, each made from its text.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use pool_core::device::{Device, InvalidDevice};
use pool_core::name::{InvalidName, ModelId, PoolName, WorkerName};
use regex::Regex;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::glob;

/// Implements `JsonSchema` for a value that the file holds as a string.
macro_rules! string_schema {
    ($($name:ident: $pattern:literal;)*) => {$(
        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    )*};
}

string_schema! {
    AnswerPattern: "^(.|\\n)+$";
    CheckName: "^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$";
    DevicePattern: r"^[A-Za-z0-9._*?-]+/[a-z0-9:*?]+$";
    WorkerPattern: r"^[A-Za-z0-9_*?-]+$";
}

/// Name of a check: 1–63 letters, digits, `.`, `_`, `-`, with a letter or digit at both ends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckName(String);

impl CheckName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for CheckName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let name = "check name";
        match text.parse::<ModelId>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(InvalidName::Empty { .. }) => Err(InvalidName::Empty { kind: name }),
            Err(InvalidName::TooLong { len, .. }) => Err(InvalidName::TooLong { kind: name, len }),
            Err(InvalidName::Edge { .. }) => Err(InvalidName::Edge { kind: name }),
            Err(InvalidName::Character { found, extra, .. }) => Err(InvalidName::Character {
                kind: name,
                found,
                extra,
            }),
        }
    }
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Declares an enum of words with their spelling in the file.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, JsonSchema)]
        #[schemars(inline)]
        pub enum $name {
            $($(#[$variant_doc])* #[schemars(rename = $word)] $variant,)*
        }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

words! {
    /// Whether a host key that `known_hosts` does not have is refused or taken.
    #[derive(Default)]
    HostKeys {
        /// Refused: enter the key with `ssh-keyscan` or by logging in once.
        #[default]
        Strict = "strict",
        /// Taken and remembered; a key that changed is refused all the same.
        AcceptNew = "accept-new",
    }
}

/// `POOL/DEVICE`, each part a name or a glob.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DevicePattern(String);

impl DevicePattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The globs for pool and device.
    pub fn parts(&self) -> (&str, &str) {
        self.0.split_once('/').unwrap_or((&self.0, "*"))
    }

    pub fn matches(&self, pool: &PoolName, device: Device) -> bool {
        glob::matches(&self.0, &format!("{pool}/{device}"))
    }
}

/// The name of a worker, or a glob over such names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerPattern(String);

impl WorkerPattern {
    /// Matches every worker.
    pub fn all() -> Self {
        Self("*".to_owned())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn matches(&self, worker: &WorkerName) -> bool {
        glob::matches(&self.0, worker.as_str())
    }
}

/// A regular expression that an answer must match, in the syntax of the crate `regex`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnswerPattern(String);

impl AnswerPattern {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_match(&self, text: &str) -> bool {
        Regex::new(&self.0).is_ok_and(|regex| regex.is_match(text))
    }
}

impl FromStr for AnswerPattern {
    type Err = regex::Error;

    fn from_str(text: &str) -> Result<Self, regex::Error> {
        Regex::new(text).map(|_| Self(text.to_owned()))
    }
}

impl fmt::Display for AnswerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    #[error("`{0}` is not POOL/DEVICE")]
    Parts(String),
    #[error("{0}")]
    Pool(InvalidName),
    #[error("{0}")]
    Worker(InvalidName),
    #[error("{0}")]
    Device(InvalidDevice),
}

impl FromStr for DevicePattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let parts = || InvalidPattern::Parts(text.to_owned());
        let (pool, device) = text.split_once('/').ok_or_else(parts)?;
        if device.contains('/') {
            return Err(parts());
        }
        let _: PoolName = filled(pool).parse().map_err(InvalidPattern::Pool)?;
        if !is_glob(device) {
            let _: Device = device.parse().map_err(InvalidPattern::Device)?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl FromStr for WorkerPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        let _: WorkerName = filled(text).parse().map_err(InvalidPattern::Worker)?;
        Ok(Self(text.to_owned()))
    }
}

pub(super) fn is_glob(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The glob as a name that it could match, so that what no name may hold is found.
fn filled(glob: &str) -> String {
    glob.replace(['*', '?'], "x")
}

impl fmt::Display for DevicePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for WorkerPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
