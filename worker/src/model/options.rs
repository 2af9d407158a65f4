//! What a model is loaded with.

use std::path::PathBuf;

use candle_core::DType;
use pool_core::device::Device;
use pool_core::launch::WorkerLaunch;
use pool_core::weights::{Dtype, Quantization};

use super::weights::MatrixAt;
use crate::cpu::{Kind, Source};

/// Where a model comes from, and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The folder of its files.
    pub dir: PathBuf,
    pub device: Device,
    /// Most tokens of a sequence; what the model was made for when none.
    pub context: Option<u32>,
    /// Sequences that have their keys and values here at the same time.
    pub slots: u32,
    pub dtype: Dtype,
    pub quantize: Option<Quantization>,
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

/// How weights are kept: as their file has them, or as another kind.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    pub dtype: Dtype,
    pub quantize: Option<Quantization>,
}

impl Keep {
    /// The numbers that candle computes a model with, whose file holds its embedding as `source`.
    pub fn numbers(self, source: Source) -> DType {
        match (self.dtype, self.quantize, source) {
            (Dtype::F32, _, _) | (Dtype::Auto, None, Source::F32) => DType::F32,
            (Dtype::F16, _, _) | (Dtype::Auto, None, Source::F16) => DType::F16,
            (Dtype::Bf16 | Dtype::Auto, _, _) => DType::BF16,
        }
    }

    /// The kind of a matrix that its file holds as `source`.
    pub(super) fn kind(self, source: Source, at: &MatrixAt) -> Kind {
        match (self.quantize, self.dtype) {
            // What turns tokens into rows and back stays at 8 bits, as in files of 4 bits elsewhere.
            (Some(Quantization::Q4), _) if !at.is_vocabulary => Kind::Q4,
            (Some(_), _) => Kind::Q8,
            (None, Dtype::Auto) => source.kept(),
            (None, Dtype::F32) => Kind::F32,
            (None, Dtype::Bf16) => Kind::Bf16,
            (None, Dtype::F16) => Kind::F16,
        }
    }
}
