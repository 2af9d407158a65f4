//! GGUF, the format of llama.cpp: weights, configuration and tokenizer in one file.
//!
//! Versions 2 and 3, little-endian, one file a model. Everything that a file says is checked against its size before it
//! is believed: what is wrong ends in an [`Error`] that names the file and the place, never in a panic or in memory that
//! the file does not account for. What would be computed wrongly is refused by name.
//!
//! | module | holds |
//! |---|---|
//! | `file` | a file open for reading: metadata, tensors, rows |
//! | `head` | what stands before the weights, with [`pool_core::gguf`] |
//! | `dequantise` | blocks to f32 |
//! | `checkpoint` | the same file as the Hugging Face checkpoint that it was made from |
//! | `names` | names of tensors |
//! | `config`, `rope` | what `config.json` would say |
//! | `text` | tokenizer, chat template, special tokens |
//!
//! Sources: the specification (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>), `ggml-common.h` and
//! `ggml-quants.c` for blocks, `conversion/` and `llama-vocab.cpp` of llama.cpp for the meaning of keys and names.

mod checkpoint;
mod config;
mod dequantise;
mod file;
mod head;
mod names;
mod rope;
mod text;

#[cfg(test)]
mod tests;

pub use pool_core::gguf::{Array, Error, Kind, Scalars, Value};

pub use checkpoint::{Checkpoint, Weight};
pub use config::Architecture;
pub use file::File;
pub use head::Tensor;
pub use text::Text;
