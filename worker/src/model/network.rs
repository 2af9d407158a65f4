//! What the engine sees of a model: rows of several sequences in, logits out.

use candle_core::Result;

use super::config::Config;

/// Most tokens that a step takes beside one of each slot: what memory is counted for.
pub const MOST_ROWS: usize = pool_core::fit::MOST_ROWS as usize;

/// Some tokens of one sequence, to be computed after those that its slot holds.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// Where keys and values of the sequence are kept.
    pub slot: usize,
    /// Tokens that the slot holds already and that these follow.
    pub position: usize,
    pub tokens: &'a [u32],
    /// Tokens of the sequence that are known, computed or not: positions may turn differently in longer sequences.
    pub length: usize,
    pub wanted: Wanted,
}

/// What is wanted of a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    None,
    /// The likeliest token after the last.
    Likeliest,
    /// The logits of the last token.
    Last,
    /// The logits of all tokens.
    All,
}

/// What a step computed, both in the order of its spans.
#[derive(Debug, Clone, Copy)]
pub struct Computed<'a> {
    /// (rows, vocab), of the tokens whose logits are wanted.
    pub logits: &'a [f32],
    /// One for each span of which no more is wanted; none where no logit is a number.
    pub likeliest: &'a [Option<u32>],
}

/// Bytes on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Weights as kept.
    pub weights: u64,
    /// Keys and values of all slots.
    pub kv: u64,
    /// What steps are computed in.
    pub scratch: u64,
}

/// A model on its device. Slots are all that it keeps of any request.
pub trait Network: Send {
    /// Computes the spans, each of another slot, in one pass over the weights.
    fn forward(&mut self, spans: &[Span<'_>]) -> Result<Computed<'_>>;

    /// Copies what the first `positions` of a slot hold to another slot.
    fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<()>;

    /// Sees to it that nothing which a slot holds from a position on is ever read again.
    fn clear(&mut self, slot: usize, from: usize) -> Result<()>;

    fn config(&self) -> &Config;

    /// Most tokens of a sequence.
    fn context(&self) -> usize;

    fn slots(&self) -> usize;

    fn memory(&self) -> Memory;
}
