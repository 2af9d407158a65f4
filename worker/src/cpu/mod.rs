//! Kernels of the worker on a CPU: what a decoder computes with, over plain slices of f32.
//!
//! # Layout
//! - [`Cpu`]: the threads and the instruction set that everything else is handed.
//! - [`Region`]: one large memory for weights and KV; [`Block`]: a part of it.
//! - [`Matrix`]: weights of a [`Kind`], filled by rows from a [`Source`]; [`linear()`] multiplies by them.
//! - [`KvCache`]: keys and values by slot; [`attention()`] reads them.
//! - [`rms_norm`], [`rope`], [`swiglu`], [`add`], [`softmax`], [`exponentials`], [`argmax`].
//! - `raw`: the only unsafe code; `scalar`: what its kernels must equal.
//!
//! # What always holds
//! - The numbers of a row do not depend on how many rows go with it, nor on the number of threads, nor on the tier:
//!   every kernel sums in one order, with fused multiply-adds (`scalar` defines it). So a sequence gives the same
//!   bits alone and in a batch, and on another machine.
//! - Nothing here allocates once a [`Scratch`] of the right size exists, except loading.
//! - Wrong shapes are mistakes of the caller and panic; what comes from a file is refused by an [`Error`].
//!
//! # Why panels
//! Weights lie in panels of 16 rows, interleaved, so that the lanes of a vector are rows. A kernel then needs no sum
//! across lanes, a group's scales are one vector, and up to 8 inputs share each load: one pass over the weights
//! serves a batch. The same kernels do attention: 16 positions are a panel of keys, 16 dimensions one of values.

mod activations;
mod attention;
mod encode;
mod kind;
mod kv;
mod linear;
mod matrix;
mod ops;
mod plain;
mod raw;
mod scalar;
mod source;

#[cfg(test)]
mod tests;

pub use attention::{Attention, attention};
pub use kind::Kind;
pub use kv::{KvCache, KvShape, Place};
pub use linear::{Linear, linear};
pub use matrix::Matrix;
pub use ops::{add, argmax, exponentials, rms_norm, rope, softmax, swiglu};
pub use raw::{Block, Region, Threads, Tier};
pub use source::Source;

use std::sync::Mutex;

use activations::Group;

/// What computes: a group of threads and an instruction set.
pub struct Cpu {
    pub threads: Threads,
    pub tier: Tier,
}

impl Cpu {
    /// `threads` of them, the caller's included, with the best tier of this machine.
    ///
    /// # Errors
    /// When the system refuses to start a thread.
    pub fn new(threads: usize) -> std::io::Result<Self> {
        Self::with_tier(threads, Tier::best())
    }

    /// The same with a tier of choice.
    pub fn with_tier(threads: usize, tier: Tier) -> std::io::Result<Self> {
        Ok(Self {
            threads: Threads::new(threads)?,
            tier,
        })
    }
}

/// Memory that the operations work in, kept between tokens. It grows when it must, so make it large enough beforehand.
pub struct Scratch {
    groups: Vec<Group>,
    pairs: Vec<u32>,
    /// Attention scores, for each thread.
    scores: Vec<Mutex<Vec<f32>>>,
}

impl Scratch {
    /// For [`linear()`] with inputs of up to `inputs` numbers in all (rows times the largest k), and [`attention()`] over
    /// up to `positions`.
    pub fn new(cpu: &Cpu, inputs: usize, positions: usize) -> Self {
        let scores = || Mutex::new(vec![0.0; attention::scores(positions)]);
        Self {
            groups: vec![Group::default(); inputs.div_ceil(kind::GROUP)],
            pairs: vec![0; inputs.div_ceil(2)],
            scores: (0..cpu.threads.count()).map(|_| scores()).collect(),
        }
    }

    /// Bytes it holds: what [`pool_core::fit::cpu_scratch`] says of the same numbers.
    pub fn bytes(&self) -> usize {
        let scores = self.scores.iter().map(|scores| match scores.lock() {
            Ok(scores) => scores.len() * size_of::<f32>(),
            Err(poisoned) => poisoned.into_inner().len() * size_of::<f32>(),
        });
        let inputs = size_of_val(&self.groups[..]) + size_of_val(&self.pairs[..]);
        inputs + scores.sum::<usize>()
    }
}

/// Why weights or KV could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "rows of {columns} numbers cannot be kept as {kind:?}: not a multiple of {}",
        kind::GROUP
    )]
    Columns { kind: Kind, columns: usize },
    #[error(
        "rows of {columns} numbers cannot come from {source_kind:?}: not a multiple of {block}"
    )]
    Blocks {
        source_kind: Source,
        columns: usize,
        block: usize,
    },
    #[error("{rows} rows of {columns} numbers are more than a machine can address")]
    TooLarge { rows: usize, columns: usize },
    #[error("{needed} bytes do not fit the {left} left of the region")]
    Full { needed: usize, left: usize },
    #[error(
        "{bytes} bytes are not whole rows of {row}, or more than there are from row {first} on"
    )]
    Rows {
        bytes: usize,
        row: usize,
        first: usize,
    },
}
