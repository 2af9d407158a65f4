//! What a model is loaded with.

use std::path::PathBuf;

use pool_core::DEFAULT_SLOTS;
use pool_core::device::Device;
use pool_core::launch::WorkerLaunch;
use pool_core::weights::{Dtype, Quantization};

/// Which model, where, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The folder with the model's files.
    pub dir: PathBuf,
    pub device: Device,
    /// Most tokens of prompt and answer together; the model's own limit when absent.
    pub context: Option<u32>,
    /// Requests served at the same time.
    pub slots: u32,
    /// How weights that are not quantised are kept.
    pub dtype: Dtype,
    /// What matrices are quantised to while they are loaded.
    pub quantize: Option<Quantization>,
}

impl Options {
    /// A folder on a device, all else as where nobody says anything.
    pub fn new(dir: impl Into<PathBuf>, device: Device) -> Self {
        Self {
            dir: dir.into(),
            device,
            context: None,
            slots: DEFAULT_SLOTS,
            dtype: Dtype::Auto,
            quantize: None,
        }
    }
}

impl From<&WorkerLaunch> for Options {
    fn from(launch: &WorkerLaunch) -> Self {
        Self {
            dir: launch.model_dir.clone(),
            device: launch.device,
            context: launch.context,
            slots: launch.slots,
            dtype: launch.dtype,
            quantize: launch.quantize,
        }
    }
}
