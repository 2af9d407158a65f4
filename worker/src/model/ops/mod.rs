//! The operations that a decoder is written in.
//!
//! | module | computes with |
//! |---|---|
//! | `kernels` | this crate's own kernels, on the CPU |
//! | `tensors` | candle's tensors: CUDA, Metal, and the CPU as the plain twin that tests hold the kernels against |

mod kernels;
mod tensors;

use candle_core::Result;

pub use kernels::Kernels;
pub use tensors::{Plan, Tensors};

use super::checkpoint::Checkpoint;
use super::error::ModelError;
use super::network::{Memory, Span};
use super::weights::MatrixAt;

/// Cosines and sines of the rows of a step, each (rows, half): number `i` of a head turns with number `i + half`.
#[derive(Default)]
pub struct Turns {
    pub half: usize,
    pub cos: Vec<f32>,
    pub sin: Vec<f32>,
}

/// A matrix, a bias, and where their product goes.
pub type Product<'a, M, V, R> = (&'a M, Option<&'a V>, &'a mut R);

/// A set of operations over rows, and the keys and values of all slots.
///
/// Results go into rows that the caller keeps, so that their memory is used again.
pub trait Ops: Send {
    type Matrix: Send;
    type Vector: Send;
    /// (rows, width) of numbers.
    type Rows: Default + Send;

    /// Loads matrices that the same rows are multiplied with.
    fn matrices<const N: usize>(
        &mut self,
        from: &Checkpoint,
        at: [&MatrixAt; N],
    ) -> std::result::Result<[Self::Matrix; N], ModelError>;

    /// Takes a vector onto the device.
    fn vector(&mut self, values: Vec<f32>) -> Result<Self::Vector>;

    /// Begins a step of these spans; their positions and turns hold for what follows.
    fn begin(&mut self, spans: &[Span<'_>], turns: Turns) -> Result<()>;

    /// Rows of the table, one for each token.
    fn embed(&mut self, table: &Self::Matrix, tokens: &[u32], out: &mut Self::Rows) -> Result<()>;

    /// `out = x / sqrt(mean(x²) + eps) * weight`, row by row.
    fn norm(
        &mut self,
        x: &Self::Rows,
        weight: &Self::Vector,
        eps: f32,
        out: &mut Self::Rows,
    ) -> Result<()>;

    /// Products of the same input: `y = x · weightᵀ + bias` each.
    fn linear<const N: usize>(
        &mut self,
        x: &Self::Rows,
        products: [Product<'_, Self::Matrix, Self::Vector, Self::Rows>; N],
    ) -> Result<()>;

    /// Turns the heads of each row by its position, in place.
    fn rope(&mut self, x: &mut Self::Rows) -> Result<()>;

    /// Keeps keys and values of the rows, each (rows, kv heads * head dim), in their slots; then lets each query see those of its
    /// sequence up to its own, the last `window` only when there is one.
    fn attention(
        &mut self,
        layer: usize,
        window: Option<usize>,
        query: &Self::Rows,
        key: &Self::Rows,
        value: &Self::Rows,
        out: &mut Self::Rows,
    ) -> Result<()>;

    /// `gate = silu(gate) * up`
    fn gate(&mut self, gate: &mut Self::Rows, up: &Self::Rows) -> Result<()>;

    /// `x += y`
    fn add(&mut self, x: &mut Self::Rows, y: &Self::Rows) -> Result<()>;

    /// Some of the rows.
    fn select(&mut self, x: &Self::Rows, rows: &[usize], out: &mut Self::Rows) -> Result<()>;

    /// The numbers of the first rows, where the CPU can read them.
    fn host<'a>(&'a mut self, x: &'a Self::Rows, rows: usize) -> Result<&'a [f32]>;

    /// Where the largest number of each row is, the first rows left out; none where a row has no number.
    fn likeliest(&mut self, x: &Self::Rows, after: usize) -> Result<Vec<Option<u32>>>;

    /// Copies what the first `positions` of a slot hold to another slot.
    fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<()>;

    /// Sees to it that nothing which a slot holds from a position on is ever read again.
    fn clear(&mut self, slot: usize, from: usize) -> Result<()>;

    fn memory(&self) -> Memory;
}
