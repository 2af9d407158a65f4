//! Who waits outside for the tokens of a tenant's minute, in the order in which they were refused.

use std::collections::VecDeque;

use super::promise::EARLY_MS;

#[derive(Debug, Default)]
pub(super) struct Turns {
    waiting: VecDeque<Turn>,
}

#[derive(Debug)]
pub(super) struct Turn {
    pub request: u64,
    /// Tokens that are kept for it.
    pub cost: u64,
    /// When it was told to come.
    pub at: u64,
}

/// Requests of one tenant that are remembered.
const MOST: usize = 1000;

/// How long tokens are kept for a request that does not come back in time.
const GRACE_MS: u64 = 10_000;

impl Turns {
    /// Tokens that are missing for a request when those before it have theirs; not above 0 when it can have its own now.
    pub fn lacks(&mut self, now: u64, request: u64, cost: u64, bucket: f64) -> f64 {
        self.waiting.retain(|turn| turn.at + GRACE_MS >= now);
        let before = self.waiting.iter().take_while(|t| t.request != request);
        let before: u64 = before.map(|turn| turn.cost).sum();
        before as f64 + cost as f64 - bucket
    }

    /// A request was told to come at a time.
    pub fn promise(&mut self, at: u64, request: u64, cost: u64) {
        if let Some(turn) = self.waiting.iter_mut().find(|t| t.request == request) {
            turn.at = at;
        } else if self.waiting.len() < MOST {
            self.waiting.push_back(Turn { request, cost, at });
        }
    }

    /// Whether a request was told to come by now.
    pub fn is_due(&self, now: u64, request: u64) -> bool {
        let mut turns = self.waiting.iter();
        turns.any(|turn| turn.request == request && turn.at <= now + EARLY_MS)
    }

    /// A request that has a turn was told to come later, for something else.
    pub fn postpone(&mut self, request: u64, at: u64) {
        let turn = self.waiting.iter_mut().find(|t| t.request == request);
        if let Some(turn) = turn {
            turn.at = at;
        }
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &Turn> {
        self.waiting.iter()
    }

    pub fn remove(&mut self, request: u64) {
        self.waiting.retain(|turn| turn.request != request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_refused_first_is_first() {
        let mut turns = Turns::default();
        assert!(turns.lacks(0, 1, 100, 50.0) > 0.0);
        turns.promise(1000, 1, 100);
        assert!(turns.lacks(0, 2, 10, 50.0) > 0.0);
        turns.promise(1100, 2, 10);
        assert!(turns.lacks(1000, 2, 10, 105.0) > 0.0);
        assert!(turns.lacks(1000, 1, 100, 105.0) <= 0.0);
        turns.remove(1);
        assert!(turns.lacks(1000, 2, 10, 15.0) <= 0.0);
    }

    #[test]
    fn who_does_not_come_back_loses_its_turn() {
        let mut turns = Turns::default();
        turns.promise(1000, 1, 100);
        assert!(turns.lacks(1000 + GRACE_MS, 2, 10, 50.0) > 0.0);
        assert!(turns.lacks(1001 + GRACE_MS, 2, 10, 50.0) <= 0.0);
    }
}
