//! Why a model folder cannot be served.

use std::io;
use std::path::{Path, PathBuf};

use pool_core::device::Device;

/// What is wrong with a model, or with the device it should run on.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{} has no {file}", dir.display())]
    Missing { dir: PathBuf, file: &'static str },
    #[error("cannot read {}", path.display())]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("{} is damaged: {reason}", path.display())]
    Damaged { path: PathBuf, reason: String },
    #[error("{} asks for {what}, which is not supported; supported: {supported}", path.display())]
    Unsupported {
        path: PathBuf,
        what: String,
        supported: &'static str,
    },
    #[error("a context of {asked} tokens is more than the {most} that the model was made for")]
    Context { asked: usize, most: usize },
    #[error("the device {device} is not there: {reason}")]
    Device { device: Device, reason: String },
    #[error("the model cannot be put on its device")]
    Compute(#[from] candle_core::Error),
}

impl ModelError {
    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    /// What a person can do about it.
    pub fn help(&self) -> String {
        match self {
            Self::Missing { file, .. } => {
                format!("a model folder in Hugging Face layout has {file}: download the model again, whole")
            }
            Self::Unreadable { .. } => "check that the file is there and may be read".to_owned(),
            Self::Damaged { .. } => "download the model again, or verify it in the catalog".to_owned(),
            Self::Unsupported { .. } => "choose a model of a supported kind".to_owned(),
            Self::Context { most, .. } => format!("give --context {most} or less"),
            Self::Device { device, .. } => match device {
                Device::Cpu => "this should not happen: please report it".to_owned(),
                Device::Cuda(_) => {
                    "`nvidia-smi` shows the devices that there are; the worker must be built with the feature `cuda`; give --device cpu to compute on the CPU"
                        .to_owned()
                }
                Device::Metal(_) => {
                    "the worker must be built with the feature `metal`, on a Mac; give --device cpu to compute on the CPU"
                        .to_owned()
                }
            },
            Self::Compute(_) => "check that the device has enough free memory".to_owned(),
        }
    }
}
