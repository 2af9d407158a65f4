//! Weights on disk, by their Hugging Face names, whatever the format of the files.
//!
//! | module | holds |
//! |---|---|
//! | `safetensors` | one file, or several by index |
//! | [`crate::gguf`] | one file with everything |

mod safetensors;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

use std::io::ErrorKind;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::error::ModelError;
use crate::cpu::Source;
use crate::gguf;
use safetensors::Safetensors;

/// The tensors of a model folder, open for reading.
///
/// Weights are read at their positions, so threads may share it.
pub struct Checkpoint {
    weights: Weights,
    bytes: u64,
}

enum Weights {
    Safetensors(Safetensors),
    Gguf(gguf::Checkpoint),
}

impl Checkpoint {
    /// Opens the weights of a folder: safetensors before GGUF, of which there must be one file.
    ///
    /// Reads what the files hold, not the weights themselves.
    pub fn open(dir: &Path) -> Result<Self, ModelError> {
        if let Some(weights) = Safetensors::open(dir)? {
            return Ok(Self {
                bytes: weights.bytes(),
                weights: Weights::Safetensors(weights),
            });
        }
        let path = gguf_file(dir)?.ok_or_else(|| ModelError::Missing {
            dir: dir.to_owned(),
            file: "model.safetensors, its index or a .gguf file",
        })?;
        Self::open_gguf(&path)
    }

    fn open_gguf(path: &Path) -> Result<Self, ModelError> {
        let weights = gguf::Checkpoint::open(path)?;
        let all = weights.weights().values();
        Ok(Self {
            bytes: all.map(|weight| weight.tensor.bytes() as u64).sum(),
            weights: Weights::Gguf(weights),
        })
    }

    /// How the file holds a tensor.
    ///
    /// # Errors
    /// When it is missing, has another shape than this one, a kind that is not read, or a wrong number of bytes.
    pub fn source(&self, name: &str, shape: &[usize]) -> Result<Source, ModelError> {
        let (path, found, source) = match &self.weights {
            Weights::Safetensors(weights) => {
                let tensor = weights.tensor(name)?;
                (tensor.path, tensor.shape, tensor.source)
            }
            Weights::Gguf(weights) => {
                let tensor = &weights.weight(name)?.tensor;
                let source = source(tensor.kind);
                (weights.file().path(), &tensor.shape[..], source)
            }
        };
        if found != shape {
            let reason = format!("the tensor {name} has the shape {found:?}, not {shape:?}");
            return Err(ModelError::damaged(path, reason));
        }
        Ok(source)
    }

    /// Reads rows of a tensor, bit for bit as the file holds them, and puts them behind what `to` holds.
    ///
    /// A matrix has as many rows as its first size says; a vector is one row. The order of rows is that of Hugging Face.
    pub fn append(
        &self,
        name: &str,
        rows: Range<usize>,
        to: &mut Vec<u8>,
    ) -> Result<(), ModelError> {
        match &self.weights {
            Weights::Safetensors(weights) => weights.append(name, rows, to),
            Weights::Gguf(weights) => Ok(weights.append(name, rows, to)?),
        }
    }

    /// The values of a vector.
    pub fn vector(&self, name: &str, length: usize) -> Result<Vec<f32>, ModelError> {
        self.values(name, &[length])
    }

    /// The values of a whole tensor.
    fn values(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        let source = self.source(name, shape)?;
        let rows = match shape {
            [rows, _] => *rows,
            _ => 1,
        };
        let mut bytes = Vec::new();
        self.append(name, 0..rows, &mut bytes)?;
        let mut values = vec![0.0; shape.iter().product()];
        source.decode(&bytes, &mut values);
        Ok(values)
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The GGUF file that a folder has in the place of safetensors, if it has one.
pub(crate) fn gguf_file(dir: &Path) -> Result<Option<PathBuf>, ModelError> {
    let unreadable = |source| ModelError::Unreadable {
        path: dir.to_owned(),
        source,
    };
    if safetensors::is_in(dir) {
        return Ok(None);
    }
    let entries = match dir.read_dir() {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        entries => entries.map_err(unreadable)?,
    };
    let mut found: Vec<PathBuf> = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|it| it == "gguf") {
            found.push(path);
        }
    }
    if found.len() > 1 {
        found.sort();
        let names = found.iter().filter_map(|path| path.file_name());
        return Err(ModelError::Several {
            dir: dir.to_owned(),
            files: names
                .map(|name| name.to_string_lossy().into_owned())
                .collect(),
        });
    }
    Ok(found.pop())
}

/// The same kind, as the kernels name it.
fn source(kind: gguf::Kind) -> Source {
    use gguf::Kind;
    match kind {
        Kind::F32 => Source::F32,
        Kind::F16 => Source::F16,
        Kind::BF16 => Source::Bf16,
        Kind::Q4_0 => Source::Q4_0,
        Kind::Q8_0 => Source::Q8_0,
        Kind::Q4K => Source::Q4K,
        Kind::Q5K => Source::Q5K,
        Kind::Q6K => Source::Q6K,
    }
}
