//! Where a worker computes: `cpu`, `cuda:0`, `metal:0`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The kind of a device.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    Cpu,
    Cuda,
    Metal,
}

impl Backend {
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::Metal];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One device of a pool. There is one `cpu`; the others carry their index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    Cpu,
    Cuda(u32),
    Metal(u32),
}

impl Device {
    pub fn backend(self) -> Backend {
        match self {
            Self::Cpu => Backend::Cpu,
            Self::Cuda(_) => Backend::Cuda,
            Self::Metal(_) => Backend::Metal,
        }
    }
}

/// The text is not a device.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a device: write cpu, cuda:N or metal:N")]
pub struct InvalidDevice(pub String);

impl FromStr for Device {
    type Err = InvalidDevice;

    fn from_str(text: &str) -> Result<Self, InvalidDevice> {
        let invalid = || InvalidDevice(text.to_owned());
        if text == "cpu" {
            return Ok(Self::Cpu);
        }
        let (backend, index) = text.split_once(':').ok_or_else(invalid)?;
        let canonical = index == "0" || !index.starts_with(['0', '+']);
        let index = index
            .parse()
            .ok()
            .filter(|_| canonical)
            .ok_or_else(invalid)?;
        match backend {
            "cuda" => Ok(Self::Cuda(index)),
            "metal" => Ok(Self::Metal(index)),
            _ => Err(invalid()),
        }
    }
}

impl TryFrom<String> for Device {
    type Error = InvalidDevice;
    fn try_from(text: String) -> Result<Self, InvalidDevice> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(n) => f.pad(&format!("cuda:{n}")),
            Self::Metal(n) => f.pad(&format!("metal:{n}")),
        }
    }
}

impl schemars::JsonSchema for Device {
    fn schema_name() -> Cow<'static, str> {
        "Device".into()
    }
    fn inline_schema() -> bool {
        true
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "pattern": "^(cpu|(cuda|metal):(0|[1-9][0-9]*))$" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_reads_back_as_it_prints() {
        for text in ["cpu", "cuda:0", "cuda:12", "metal:0"] {
            assert_eq!(text.parse::<Device>().unwrap().to_string(), text);
        }
        for bad in [
            "", "gpu", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:01", "cpu:0", "CPU", "metal:x",
        ] {
            assert!(bad.parse::<Device>().is_err(), "{bad:?}");
        }
    }
}
