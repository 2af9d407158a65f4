//! The tokens of one request and how far they are computed.

use super::network::{Span, Wanted};
use super::rope::Rope;

/// A sequence in a slot.
#[derive(Debug)]
pub struct Sequence {
    pub slot: usize,
    tokens: Vec<u32>,
    computed: usize,
    /// The length for which the last positions were turned.
    turned_for: usize,
}

impl Sequence {
    /// A sequence that begins with these tokens, at least one, of which the slot holds the first `held` already, but not all.
    pub fn new(slot: usize, tokens: Vec<u32>, held: usize) -> Self {
        assert!(held < tokens.len(), "nothing is left to compute");
        Self {
            slot,
            turned_for: tokens.len(),
            tokens,
            computed: held,
        }
    }

    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Tokens that the slot holds.
    pub fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens still to be computed.
    pub fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Appends the token that comes next.
    pub fn push(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// To be called before each step: all is to be computed again where longer sequences turn otherwise.
    pub fn prepare(&mut self, rope: &Rope) {
        if self.computed > 0 && rope.starts_again(self.turned_for, self.tokens.len()) {
            self.computed = 0;
        }
        self.turned_for = self.tokens.len();
    }

    /// The next tokens to compute, at most `most`. Their logits are wanted when they are the last.
    pub fn span(&self, most: usize) -> Span<'_> {
        let end = self.computed + most.min(self.pending());
        Span {
            slot: self.slot,
            position: self.computed,
            tokens: &self.tokens[self.computed..end],
            length: self.tokens.len(),
            wanted: if end == self.tokens.len() {
                Wanted::Last
            } else {
                Wanted::None
            },
        }
    }

    /// So many more are computed.
    pub fn advance(&mut self, tokens: usize) {
        self.computed += tokens;
        debug_assert!(self.computed <= self.tokens.len());
    }
}
