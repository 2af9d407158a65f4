//! Why a model folder cannot be served.

use std::io;
use std::path::{Path, PathBuf};

use pool_core::device::Device;
use pool_core::units::bytes;

use super::device::Absent;
use super::memory::Need;

use crate::{cpu, gguf};

/// What is wrong with a model, or with the device it should run on.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{} has no {file}", dir.display())]
    Missing { dir: PathBuf, file: &'static str },
    #[error("{} has several GGUF files: {}", dir.display(), files.join(", "))]
    Several { dir: PathBuf, files: Vec<String> },
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
    #[error("the device {device} is not there: {why}")]
    Device { device: Device, why: Absent },
    #[error(
        "the device {device} computes wrongly: with weights of {kind}, a small network differs by {difference:.3} from the CPU, as a part of its \
         largest logit"
    )]
    Untrue {
        device: Device,
        kind: String,
        difference: f32,
    },
    #[error(
        "the model does not fit: it needs {} ({} of weights, {} for {} x {} tokens), {} are free",
        bytes(need.bytes.total()), bytes(need.bytes.weights), bytes(need.bytes.kv), need.slots, need.context, bytes(*free)
    )]
    DoesNotFit { need: Need, free: u64 },
    #[error("the system refused memory")]
    NoMemory(#[source] io::Error),
    #[error("the system refused a thread")]
    NoThreads(#[source] io::Error),
    #[error("the model cannot be put on its device")]
    Compute(#[from] candle_core::Error),
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    #[error("the weights cannot be kept: {0}")]
    Weights(cpu::Error),
}

impl From<cpu::Error> for ModelError {
    fn from(error: cpu::Error) -> Self {
        Self::Weights(error)
    }
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
            Self::Several { .. } => {
                "keep one of them in the folder; `llama-gguf-split --merge` makes one of the parts of a model".to_owned()
            }
            Self::Unreadable { .. } | Self::Gguf(gguf::Error::Unreadable { .. }) => {
                "check that the file is there and may be read".to_owned()
            }
            Self::Damaged { .. }
            | Self::Gguf(gguf::Error::Damaged { .. } | gguf::Error::Missing { .. })
            | Self::Weights(cpu::Error::Blocks { .. } | cpu::Error::Rows { .. }) => {
                "download the model again, or verify it in the catalog".to_owned()
            }
            Self::Unsupported { .. } | Self::Gguf(gguf::Error::Unsupported { .. }) => {
                "choose a model of a supported kind".to_owned()
            }
            Self::Weights(cpu::Error::Columns { .. }) => {
                "choose a model that is not quantised, or one whose sizes are multiples of 32".to_owned()
            }
            Self::Weights(cpu::Error::TooLarge { .. } | cpu::Error::Full { .. }) => {
                "choose a smaller model".to_owned()
            }
            Self::Context { most, .. } => format!("give --context {most} or less"),
            Self::Device { device, why } => why.help(*device),
            Self::Untrue { .. } => {
                "its driver or this build does not fit the card: update the driver, or give --device cpu".to_owned()
            }
            Self::DoesNotFit { need, free } => match need.context_that_fits(*free) {
                Some(context) => format!(
                    "give --context {context} or less, or fewer than {} --slots, or --quantize",
                    need.slots
                ),
                None => "give --quantize, or choose a smaller model or a larger machine".to_owned(),
            },
            Self::NoMemory(_) | Self::NoThreads(_) => {
                "check the limits of this user (`ulimit -a`)".to_owned()
            }
            Self::Compute(_) => "check that the device has enough free memory".to_owned(),
        }
    }
}
