//! What memory a worker takes on its device: the worker counts with it before it loads, a plan before it spawns.
//!
//! | module | holds |
//! |---|---|
//! | `shape` | the sizes of a decoder, from `config.json` |
//! | `kept` | bytes of matrices, and of keys and values, as they lie in memory |

mod kept;
mod shape;

#[cfg(test)]
mod tests;

pub use kept::{Kept, Kv, matrix, panel};
pub(crate) use shape::reach;
pub use shape::{Shape, cpu_scratch};

use crate::DEFAULT_SLOTS;
use crate::device::Backend;
use crate::model::{Format, Manifest};
use crate::weights::{Dtype, Quantization};
use crate::worker::WorkerSpec;

/// Most tokens that a step takes beside one of each slot: what memory is counted for.
pub const MOST_ROWS: u64 = 512;

/// Threads that are counted where a pool does not say how many it has.
const THREADS: u32 = 16;

/// Bytes of a card that are gone once a process uses it, before anything is loaded: its context, kernels and the libraries' own
/// memory. A plan counts them; a worker that counts has them already.
const CUDA_CONTEXT: u64 = 512 << 20;

/// What a worker takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// Weights as kept.
    pub weights: u64,
    /// Keys and values of all slots.
    pub kv: u64,
    /// What steps are computed in.
    pub scratch: u64,
}

impl Need {
    pub fn total(&self) -> u64 {
        self.weights
            .saturating_add(self.kv)
            .saturating_add(self.scratch)
    }
}

/// What a worker would take, as far as its model's files tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    pub bytes: u64,
    /// The files do not tell the shape of the model: twice their size and a quarter of a gibibyte.
    pub is_guess: bool,
}

impl Estimate {
    /// For a model of these files, on a device whose machine computes with so many threads.
    pub fn of(manifest: &Manifest, spec: &WorkerSpec, threads: Option<u32>) -> Self {
        match need(manifest, spec, threads) {
            Some(need) => Self {
                bytes: need.total(),
                is_guess: false,
            },
            None => Self {
                bytes: manifest.size().saturating_mul(2).saturating_add(256 << 20),
                is_guess: true,
            },
        }
    }
}

/// What a worker takes; none where the shape of its model is not known.
pub fn need(manifest: &Manifest, spec: &WorkerSpec, threads: Option<u32>) -> Option<Need> {
    let shape = manifest.facts.shape.as_ref()?;
    let extension = match manifest.facts.format {
        Format::Safetensors => ".safetensors",
        Format::Gguf => ".gguf",
    };
    let weights = manifest.files.iter();
    let weights = weights.filter(|file| file.path.as_str().ends_with(extension));
    let files: u64 = weights.map(|file| file.size).sum();
    let backend = spec.device.backend();
    let as_stored = if shape.stores_f32(files) {
        Kept::F32
    } else {
        Kept::Half
    };
    let (matrices, vocabulary) = match (spec.quantize, spec.dtype) {
        (Some(Quantization::Q4), _) => (Kept::Q4, Kept::Q8),
        (Some(Quantization::Q8_0), _) => (Kept::Q8, Kept::Q8),
        (None, Dtype::F32) => (Kept::F32, Kept::F32),
        (None, Dtype::Bf16 | Dtype::F16) => (Kept::Half, Kept::Half),
        (None, Dtype::Auto) => (as_stored, as_stored),
    };
    // On a GPU the vocabulary is always numbers.
    let vocabulary = match (backend, spec.dtype) {
        (Backend::Cpu, _) => vocabulary,
        (Backend::Cuda | Backend::Metal, Dtype::F32) => Kept::F32,
        (Backend::Cuda | Backend::Metal, Dtype::Auto) if spec.quantize.is_none() => as_stored,
        (Backend::Cuda | Backend::Metal, _) => Kept::Half,
    };
    let as_files = match (spec.quantize, spec.dtype) {
        (None, Dtype::Auto) => shape.weights_as_stored(backend, vocabulary),
        _ => None,
    };
    let weights = match as_files {
        Some(bytes) => bytes,
        None => shape.weights(backend, matrices, vocabulary)?,
    };
    let context = spec.context.unwrap_or(shape.context);
    let slots = spec.slots.max(DEFAULT_SLOTS);
    let context_of_card = if backend == Backend::Cuda {
        CUDA_CONTEXT
    } else {
        0
    };
    let scratch = shape.scratch(backend, slots, context, threads.unwrap_or(THREADS));
    Some(Need {
        weights,
        kv: shape.kv(backend, vocabulary, slots, context)?,
        scratch: scratch.saturating_add(context_of_card),
    })
}
