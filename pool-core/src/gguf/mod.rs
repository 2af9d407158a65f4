//! The head of a GGUF file, the format of llama.cpp: what stands before the weights.
//!
//! Versions 2 and 3, little-endian, one file a model. Everything that a file says is checked against its size before it
//! is believed: what is wrong ends in an [`Error`] that names the file and the place, never in a panic or in memory that
//! the file does not account for.
//!
//! | module | holds |
//! |---|---|
//! | `reader`, `value` | numbers, strings and lists, in order, never past the end |
//! | `header` | metadata and the lines of the tensor table |
//! | `kind` | kinds of tensors, and the sizes of their blocks |
//! | `facts` | what they say of the model: [`ModelFacts::from_gguf`](crate::model::ModelFacts::from_gguf) |

mod error;
mod facts;
mod header;
mod kind;
mod reader;
mod value;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use facts::ARCHITECTURES;
pub use header::{Header, TableLine};
pub use kind::{KINDS, Kind};
pub use reader::{Arrays, LONGEST_HEAD, Reader};
pub use value::{Array, Scalars, Value, decimal};
