//! How fast a model's queue drains.

/// What older tasks count for when there is one more: the last twenty make the most of a measure.
const KEPT: f64 = 0.95;

/// Tokens in a millisecond before anything was measured.
const UNMEASURED: f64 = 0.1;

/// Tokens that a slot gets done in a millisecond, of those that tasks were taken to need. Queues are counted in the same
/// tokens, so tasks that ask for more than they use do not mislead it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Pace {
    tokens: f64,
    ms: f64,
}

impl Pace {
    /// A task that was taken to need so many tokens held its slot for so long.
    pub fn took(&mut self, cost: u64, ms: u64) {
        self.tokens = self.tokens * KEPT + cost as f64;
        self.ms = self.ms * KEPT + ms.max(1) as f64;
    }

    /// Of one slot; `us_per_token` is what a worker says when nothing was measured.
    pub fn tokens_per_ms(&self, us_per_token: Option<u64>) -> f64 {
        if self.ms > 0.0 {
            return self.tokens / self.ms;
        }
        us_per_token.map_or(UNMEASURED, |us| 1000.0 / us.max(1) as f64)
    }
}

/// Tokens that leave a queue in a millisecond while something always waits in it: with workers that hang, fail or are not
/// ours alone, this is less than they could do.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Drain {
    tokens: f64,
    ms: f64,
    tasks: u32,
    /// When a task left and others stayed.
    since: Option<u64>,
}

/// Tasks that have to leave before it is known how fast they do.
const MEASURED: u32 = 10;

impl Drain {
    /// A task left; others stay.
    pub fn left(&mut self, now: u64, cost: u64, others: bool) {
        if let Some(since) = self.since {
            self.tokens = self.tokens * KEPT + cost as f64;
            self.ms = self.ms * KEPT + now.saturating_sub(since) as f64;
            self.tasks = self.tasks.saturating_add(1);
        }
        self.since = others.then_some(now);
    }

    pub fn tokens_per_ms(&self, now: u64) -> Option<f64> {
        let waits = self.since.map_or(0, |since| now.saturating_sub(since));
        (self.tasks >= MEASURED).then(|| self.tokens / (self.ms + waits as f64).max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_what_was_measured_last() {
        let mut pace = Pace::default();
        assert!((pace.tokens_per_ms(None) - 0.1).abs() < 1e-9);
        assert!((pace.tokens_per_ms(Some(2000)) - 0.5).abs() < 1e-9);
        for _ in 0..10 {
            pace.took(100, 1000);
        }
        assert!((pace.tokens_per_ms(Some(2000)) - 0.1).abs() < 1e-9);
        for _ in 0..100 {
            pace.took(100, 100);
        }
        assert!((pace.tokens_per_ms(None) - 1.0).abs() < 0.1);
    }

    #[test]
    fn a_queue_drains_as_fast_as_tasks_leave_it_while_others_wait() {
        let mut drain = Drain::default();
        for second in 0..=10 {
            assert_eq!(drain.tokens_per_ms(second * 1000), None);
            drain.left(second * 1000, 100, true);
        }
        let rate = drain.tokens_per_ms(10_000).unwrap();
        assert!((rate - 0.1).abs() < 1e-9);
        assert!(drain.tokens_per_ms(60_000).unwrap() < rate / 2.0);
        drain.left(10_000, 100, false);
        let idle = drain.tokens_per_ms(10_000);
        drain.left(900_000, 100, true);
        assert_eq!(drain.tokens_per_ms(900_000), idle);
    }
}
