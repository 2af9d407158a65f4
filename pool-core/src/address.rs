//! The address of a worker in its fleet: `name/pool/device/ordinal`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::device::Device;
use crate::name::{ModelId, PoolName, WorkerName};

/// Names one worker of a fleet, stable across edits of anything else.
///
/// Written `name/pool/device/ordinal`. A worker of a matrix (`models:` with several names) carries
/// its model behind a dot, `name.model/pool/device/ordinal`, so that adding a model to the list
/// moves no other worker. The ordinal counts the replicas on one device from 0.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct WorkerAddress {
    pub name: WorkerName,
    pub model: Option<ModelId>,
    pub pool: PoolName,
    pub device: Device,
    pub ordinal: u32,
}

impl WorkerAddress {
    /// The first part: the worker's name, with its model where it comes from a matrix.
    pub fn label(&self) -> String {
        match &self.model {
            Some(model) => format!("{}.{model}", self.name),
            None => self.name.to_string(),
        }
    }

    fn write(&self, to: &mut impl fmt::Write) -> fmt::Result {
        let Self {
            name,
            model,
            pool,
            device,
            ordinal,
        } = self;
        match model {
            Some(model) => write!(to, "{name}.{model}/{pool}/{device}/{ordinal}"),
            None => write!(to, "{name}/{pool}/{device}/{ordinal}"),
        }
    }
}

/// The text is not a worker's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a worker's address (name/pool/device/ordinal): {reason}")]
pub struct InvalidAddress {
    pub text: String,
    pub reason: String,
}

impl FromStr for WorkerAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason: String| InvalidAddress {
            text: text.to_owned(),
            reason,
        };
        let parts: Vec<&str> = text.split('/').collect();
        let [label, pool, device, ordinal] = parts[..] else {
            return Err(invalid(format!("it has {} parts, not 4", parts.len())));
        };
        let (name, model) = match label.split_once('.') {
            Some((name, model)) => (name, Some(model)),
            None => (label, None),
        };
        let canonical = ordinal == "0" || !ordinal.starts_with(['0', '+']);
        Ok(Self {
            name: name.parse().map_err(|e| invalid(format!("{e}")))?,
            model: model
                .map(str::parse)
                .transpose()
                .map_err(|e| invalid(format!("{e}")))?,
            pool: pool.parse().map_err(|e| invalid(format!("{e}")))?,
            device: device.parse().map_err(|e| invalid(format!("{e}")))?,
            ordinal: ordinal
                .parse()
                .ok()
                .filter(|_| canonical)
                .ok_or_else(|| invalid(format!("`{ordinal}` is not a count")))?,
        })
    }
}

impl TryFrom<String> for WorkerAddress {
    type Error = InvalidAddress;
    fn try_from(text: String) -> Result<Self, InvalidAddress> {
        text.parse()
    }
}

impl fmt::Display for WorkerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.width().is_none() {
            return self.write(f);
        }
        let mut text = String::new();
        self.write(&mut text)?;
        f.pad(&text)
    }
}

impl Serialize for WorkerAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl schemars::JsonSchema for WorkerAddress {
    fn schema_name() -> Cow<'static, str> {
        "WorkerAddress".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^[^/]+/[^/]+/[^/]+/[0-9]+$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_back_as_it_prints() {
        for text in ["chat/mac/metal:0/0", "everywhere.qwen-0.5b/blep/cpu/3"] {
            assert_eq!(text.parse::<WorkerAddress>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "chat",
            "chat/mac/metal:0",
            "chat/mac/metal:0/0/1",
            "chat/mac/gpu/0",
            "chat/mac/cpu/x",
            "c t/mac/cpu/0",
            "chat/mac/cpu/00",
        ] {
            assert!(bad.parse::<WorkerAddress>().is_err(), "{bad:?}");
        }
    }
}
