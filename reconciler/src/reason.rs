//! Why a thing differs. Reports show it; nothing is decided by it.

use std::fmt;

use pool_core::path::FilePath;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Why an action is in a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    NotInstalled,
    HiveBroken { cause: String },
    OtherBuild,
    NotThere,
    Changed { fields: Vec<FieldChange> },
    Incomplete,
    Damaged { files: Vec<FilePath> },
    Touched { files: Vec<FilePath> },
    StillStarting,
    Died,
    Failed { cause: String },
    NotAnswering,
    NotDeclared,
    Unused,
    Duplicate,
    Replaced,
    Destroyed,
}

/// One field of a thing and how it moves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FieldChange {
    pub field: String,
    pub from: String,
    pub to: String,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotInstalled => f.write_str("rbee is not installed there"),
            Self::HiveBroken { cause } => write!(f, "the installed hive does not run: {cause}"),
            Self::OtherBuild => f.write_str("another build is installed"),
            Self::NotThere => f.write_str("not there yet"),
            Self::Changed { fields } => {
                let names: Vec<&str> = fields.iter().map(|change| change.field.as_str()).collect();
                write!(f, "{} changed", names.join(", "))
            }
            Self::Incomplete => f.write_str("files are still missing"),
            Self::Damaged { files } => write!(f, "damaged: {}", joined(files)),
            Self::Touched { files } => {
                let files = joined(files);
                write!(f, "changed on the disk since they were checked: {files}")
            }
            Self::StillStarting => f.write_str("started, but not yet ready"),
            Self::Died => f.write_str("its process is gone"),
            Self::Failed { cause } => write!(f, "it failed: {cause}"),
            Self::NotAnswering => f.write_str("it does not answer"),
            Self::NotDeclared => f.write_str("no longer in fleet.yaml"),
            Self::Unused => f.write_str("no worker of the fleet uses it there"),
            Self::Duplicate => f.write_str("another worker serves at its address"),
            Self::Replaced => f.write_str("replaced"),
            Self::Destroyed => f.write_str("the fleet is destroyed"),
        }
    }
}

fn joined(files: &[FilePath]) -> String {
    let names: Vec<&str> = files.iter().map(FilePath::as_str).collect();
    names.join(", ")
}
