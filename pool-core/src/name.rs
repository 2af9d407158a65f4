//! Names of fleets, pools, models and workers, checked when they are made.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    #[error("a {kind} cannot be empty")]
    Empty { kind: &'static str },
    #[error("a {kind} has at most {MAX_LEN} characters, this one has {len}")]
    TooLong { kind: &'static str, len: usize },
    #[error("a {kind} starts and ends with a letter or digit")]
    Edge { kind: &'static str },
    #[error("a {kind} cannot hold {found:?}: use letters, digits and {extra}")]
    Character {
        kind: &'static str,
        found: char,
        extra: &'static str,
    },
}

const MAX_LEN: usize = 63;

fn check(text: &str, kind: &'static str, extra: &'static str) -> Result<(), InvalidName> {
    if text.is_empty() {
        return Err(InvalidName::Empty { kind });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || extra.contains(c) && c != ' ';
    if let Some(found) = text.chars().find(|&c| !allowed(c)) {
        return Err(InvalidName::Character { kind, found, extra });
    }
    if text.len() > MAX_LEN {
        let len = text.len();
        return Err(InvalidName::TooLong { kind, len });
    }
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    if !edge(text.chars().next()) || !edge(text.chars().last()) {
        return Err(InvalidName::Edge { kind });
    }
    Ok(())
}

/// Declares a string newtype whose only way in is a check. Plans hold each name many times, so clones share it.
macro_rules! names {
    ($($(#[$doc:meta])* $name:ident: $kind:literal, $extra:literal, $pattern:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                check(text, $kind, $extra)?;
                Ok(Self(text.into()))
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                check(&text, $kind, $extra)?;
                Ok(Self(text.into()))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(&self.0)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn inline_schema() -> bool {
                true
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern, "maxLength": MAX_LEN })
            }
        }
    )*};
}

names! {
    /// Name of a fleet: 1–63 letters, digits, `_`, `-`, with a letter or digit at both ends.
    FleetName: "fleet name", "_ -", "^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$";
    /// Name of a pool: 1–63 letters, digits, `.`, `_`, `-`, with a letter or digit at both ends.
    PoolName: "pool name", ". _ -", "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
    /// Name of a model in a fleet: 1–63 letters, digits, `.`, `_`, `-`, with a letter or digit at both ends.
    ModelId: "model name", ". _ -", "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
    /// Name of a worker in a fleet: 1–63 letters, digits, `_`, `-`, with a letter or digit at both ends.
    WorkerName: "worker name", "_ -", "^[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?$";
    /// Name of one worker process, unique on its pool, chosen by the hive.
    WorkerId: "worker id", ". _ -", "^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_checked_on_every_way_in() {
        assert_eq!(
            "qwen-0.5b".parse::<ModelId>().unwrap().as_str(),
            "qwen-0.5b"
        );
        for bad in [
            "",
            "-a",
            "a-",
            ".",
            "..",
            "a/b",
            "a b",
            "a\n",
            "ü",
            &"a".repeat(64),
        ] {
            assert!(bad.parse::<PoolName>().is_err(), "{bad:?}");
            let json = serde_json::to_string(bad).unwrap();
            assert!(serde_json::from_str::<PoolName>(&json).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_worker_name_has_no_dot_because_a_dot_ends_it_in_an_address() {
        let error = "chat.a".parse::<WorkerName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "a worker name cannot hold '.': use letters, digits and _ -"
        );
    }
}
