//! What each slot holds, and which slot serves the next request best.

use crate::model::{Rope, Sequence};

/// The keys and values of all slots, by the tokens that they were computed from.
pub(super) struct Slots {
    held: Vec<Held>,
    /// Counts claims, to tell which slot was used last.
    clock: u64,
}

#[derive(Debug, Clone, Default)]
struct Held {
    tokens: Vec<u32>,
    /// Of them, the first that were turned alike, for a sequence of `turned_for` tokens: others can use them.
    alike: usize,
    turned_for: usize,
    /// Whose they are.
    owner: u64,
    used: u64,
    is_busy: bool,
}

/// A slot for a sequence.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub slot: usize,
    /// First tokens of the sequence that need not be computed again.
    pub held: usize,
    /// Where they have to be copied from first.
    pub from: Option<usize>,
}

/// Tokens that are worth a copy: fewer are computed again.
const WORTH_COPYING: usize = 32;

impl Slots {
    pub fn new(count: usize) -> Self {
        Self {
            held: vec![Held::default(); count],
            clock: 0,
        }
    }

    /// Tokens that busy slots hold.
    pub fn tokens(&self) -> usize {
        let busy = self.held.iter().filter(|held| held.is_busy);
        busy.map(|held| held.tokens.len()).sum()
    }

    /// Takes a free slot for a sequence that begins with `tokens`; none when all are busy.
    ///
    /// What is held for the same owner is used again, in its place when the sequence goes on with most of it; else it is
    /// copied into the slot that was not used for the longest time, so that it stays for those that do go on with it.
    pub fn claim(&mut self, tokens: &[u32], owner: u64, rope: &Rope) -> Option<Claim> {
        let shared: Vec<usize> = self
            .held
            .iter()
            .map(|held| held.shared(tokens, owner, rope))
            .collect();
        let free = || (0..self.held.len()).filter(|&slot| !self.held[slot].is_busy);
        let oldest = free().min_by_key(|&slot| self.held[slot].used)?;
        let goes_on = |&slot: &usize| 2 * shared[slot] > self.held[slot].tokens.len();
        let best = free().filter(goes_on).max_by_key(|&slot| shared[slot]);
        let slot = best.unwrap_or(oldest);
        let other = (0..shared.len()).max_by_key(|&slot| shared[slot])?;
        let worth = shared[other] >= shared[slot] + WORTH_COPYING;
        let claim = Claim {
            slot,
            held: shared[if worth { other } else { slot }],
            from: worth.then_some(other),
        };
        self.clock += 1;
        let turned_for = match claim.held {
            0 => tokens.len(),
            _ => self.held[claim.from.unwrap_or(slot)].turned_for,
        };
        let held = &mut self.held[slot];
        held.tokens.clear();
        held.tokens.extend_from_slice(&tokens[..claim.held]);
        held.alike = claim.held;
        held.turned_for = turned_for;
        held.owner = owner;
        held.used = self.clock;
        held.is_busy = true;
        Some(claim)
    }

    /// Notes how far a sequence is computed, after a step.
    pub fn computed(&mut self, sequence: &Sequence, rope: &Rope) {
        let held = &mut self.held[sequence.slot];
        let (tokens, computed) = (sequence.tokens(), sequence.computed());
        if computed < held.tokens.len() || held.tokens.is_empty() {
            // It was begun again.
            held.tokens.clear();
            held.alike = 0;
            held.turned_for = tokens.len();
        }
        held.tokens
            .extend_from_slice(&tokens[held.tokens.len()..computed]);
        if rope.same(held.turned_for, tokens.len()) {
            held.alike = computed;
        }
    }

    /// Nothing runs in a slot any more; what it holds stays for the next.
    pub fn release(&mut self, slot: usize) {
        self.held[slot].is_busy = false;
    }

    /// What a slot holds cannot be trusted.
    pub fn forget(&mut self, slot: usize) {
        self.held[slot].tokens.clear();
        self.held[slot].alike = 0;
    }
}

impl Held {
    /// How many of the first tokens need not be computed again; the last one always is, for its logits.
    fn shared(&self, tokens: &[u32], owner: u64, rope: &Rope) -> usize {
        if self.owner != owner || !rope.same(self.turned_for, tokens.len()) {
            return 0;
        }
        let most = self.alike.min(tokens.len().saturating_sub(1));
        let pairs = self.tokens.iter().zip(tokens).take(most);
        pairs.take_while(|(a, b)| a == b).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;

    fn rope(scaling: &str) -> Rope {
        let text = format!(
            r#"{{"model_type": "llama", "vocab_size": 10, "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64, "rope_scaling": {scaling}}}"#
        );
        Config::parse("config.json".as_ref(), &text).unwrap().rope
    }

    fn plain() -> Rope {
        rope("null")
    }

    /// Runs a whole sequence of tokens and leaves it in its slot.
    fn run(slots: &mut Slots, tokens: &[u32], owner: u64, rope: &Rope) -> Claim {
        let claim = start(slots, tokens, owner, rope);
        slots.release(claim.slot);
        claim
    }

    fn start(slots: &mut Slots, tokens: &[u32], owner: u64, rope: &Rope) -> Claim {
        let claim = slots.claim(tokens, owner, rope).unwrap();
        let mut sequence = Sequence::new(claim.slot, tokens.to_vec(), claim.held);
        sequence.advance(sequence.pending());
        slots.computed(&sequence, rope);
        claim
    }

    fn numbers(range: std::ops::Range<u32>) -> Vec<u32> {
        range.collect()
    }

    #[test]
    fn a_conversation_goes_on_where_it_was() {
        let mut slots = Slots::new(2);
        let first = run(&mut slots, &numbers(0..10), 0, &plain());
        assert_eq!((first.held, first.from), (0, None));
        let next = run(&mut slots, &numbers(0..20), 0, &plain());
        assert_eq!((next.slot, next.held, next.from), (first.slot, 10, None));
        // The same again: all but the last token is there.
        assert_eq!(run(&mut slots, &numbers(0..20), 0, &plain()).held, 19);
    }

    #[test]
    fn what_belongs_to_another_is_never_used() {
        let mut slots = Slots::new(1);
        run(&mut slots, &numbers(0..10), 1, &plain());
        assert_eq!(run(&mut slots, &numbers(0..10), 2, &plain()).held, 0);
        assert_eq!(run(&mut slots, &numbers(0..10), 2, &plain()).held, 9);
    }

    #[test]
    fn a_common_beginning_is_copied_and_stays() {
        let mut slots = Slots::new(3);
        let long: Vec<u32> = numbers(0..200);
        let first = start(&mut slots, &long, 0, &plain());
        let mut other = numbers(0..50);
        other.extend(numbers(500..600));
        let claim = start(&mut slots, &other, 0, &plain());
        assert_eq!((claim.held, claim.from), (50, Some(first.slot)));
        assert_ne!(claim.slot, first.slot);
        // A few tokens are not worth it.
        let mut few = numbers(0..5);
        few.extend(numbers(700..800));
        let claim = start(&mut slots, &few, 0, &plain());
        assert_eq!((claim.held, claim.from), (0, None));
        assert_eq!(slots.claim(&long, 0, &plain()), None);
        slots.release(first.slot);
        assert_eq!(run(&mut slots, &long, 0, &plain()).held, 199);
    }

    #[test]
    fn the_slot_not_used_for_the_longest_time_goes_first() {
        let mut slots = Slots::new(2);
        let a = run(&mut slots, &numbers(0..40), 0, &plain());
        let b = run(&mut slots, &numbers(100..140), 0, &plain());
        run(&mut slots, &numbers(0..40), 0, &plain());
        let c = run(&mut slots, &numbers(200..240), 0, &plain());
        assert_eq!((c.slot, a.slot != b.slot), (b.slot, true));
    }

    #[test]
    fn keys_that_turned_otherwise_are_not_used() {
        let dynamic = rope(r#"{"type": "dynamic", "factor": 4.0}"#);
        let mut slots = Slots::new(1);
        run(&mut slots, &numbers(0..40), 0, &dynamic);
        // 64 positions turn as the model was made; 100 do not, and each length beyond turns in its own way.
        assert_eq!(run(&mut slots, &numbers(0..60), 0, &dynamic).held, 40);
        assert_eq!(run(&mut slots, &numbers(0..100), 0, &dynamic).held, 0);
        assert_eq!(run(&mut slots, &numbers(0..101), 0, &dynamic).held, 0);
        assert_eq!(run(&mut slots, &numbers(0..101), 0, &dynamic).held, 100);
    }

    #[test]
    fn a_sequence_that_grows_out_of_its_turning_shares_what_came_before() {
        let dynamic = rope(r#"{"type": "dynamic", "factor": 4.0}"#);
        let mut slots = Slots::new(1);
        let claim = slots.claim(&numbers(0..60), 0, &dynamic).unwrap();
        let mut sequence = Sequence::new(claim.slot, numbers(0..60), 0);
        for token in 60..80 {
            sequence.advance(sequence.pending());
            slots.computed(&sequence, &dynamic);
            sequence.push(token);
            sequence.prepare(&dynamic);
        }
        slots.release(claim.slot);
        assert_eq!(slots.claim(&numbers(0..64), 0, &dynamic).unwrap().held, 63);
    }
}
