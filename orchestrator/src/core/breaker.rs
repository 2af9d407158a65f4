//! Leaves a worker alone for a while when attempts on it fail.

use schemars::JsonSchema;
use serde::Serialize;

use super::config::BreakerConfig;

/// What is known of the last attempts on one worker. Times are milliseconds of the clock that never goes back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Breaker {
    /// Failures since something went well.
    failures: u32,
    /// Nothing is sent before; from then on one attempt at a time, until one goes well.
    open_until: Option<u64>,
    pause_ms: u64,
    /// That one attempt is on its way.
    trial: bool,
}

/// What a breaker allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    Open { until: u64 },
    HalfOpen,
    Trial,
}

impl Breaker {
    pub(super) fn state(&self, now: u64) -> State {
        match self.open_until {
            None => State::Closed,
            Some(until) if now < until => State::Open { until },
            Some(_) if self.trial => State::Trial,
            Some(_) => State::HalfOpen,
        }
    }

    /// The end of the pause; 0 when there is none.
    pub(super) fn open_until(&self) -> u64 {
        self.open_until.unwrap_or(0)
    }

    /// An attempt begins.
    pub(super) fn begin(&mut self) {
        self.trial = self.open_until.is_some();
    }

    /// The worker did what was asked, or said why that cannot be.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// An attempt ended and told nothing of the worker.
    pub(super) fn undecided(&mut self) {
        self.trial = false;
    }

    /// An attempt failed; `certain` when nothing else can be expected of the next one.
    pub(super) fn failed(&mut self, now: u64, certain: bool, config: &BreakerConfig) {
        self.trial = false;
        self.failures += 1;
        if self.open_until.is_some_and(|until| now < until) {
            return;
        }
        if certain || self.failures >= config.failures || self.open_until.is_some() {
            let next = (2 * self.pause_ms).clamp(config.pause_ms, config.pause_most_ms);
            self.pause_ms = next;
            self.open_until = Some(now + next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: BreakerConfig = BreakerConfig {
        failures: 3,
        pause_ms: 1000,
        pause_most_ms: 3000,
    };

    #[test]
    fn three_failures_in_a_row_open_it_and_one_success_closes_it() {
        let mut breaker = Breaker::default();
        breaker.failed(0, false, &CONFIG);
        breaker.failed(0, false, &CONFIG);
        breaker.succeeded();
        breaker.failed(0, false, &CONFIG);
        breaker.failed(0, false, &CONFIG);
        assert_eq!(breaker.state(0), State::Closed);
        breaker.failed(7, false, &CONFIG);
        assert_eq!(breaker.state(7), State::Open { until: 1007 });
        assert_eq!(breaker.state(1007), State::HalfOpen);
        breaker.succeeded();
        assert_eq!(breaker.state(7), State::Closed);
    }

    #[test]
    fn a_certain_failure_opens_it_at_once() {
        let mut breaker = Breaker::default();
        breaker.failed(0, true, &CONFIG);
        assert_eq!(breaker.state(0), State::Open { until: 1000 });
    }

    #[test]
    fn one_trial_at_a_time_and_pauses_that_grow() {
        let mut breaker = Breaker::default();
        breaker.failed(0, true, &CONFIG);
        let mut now = 1000;
        for pause in [2000, 3000, 3000] {
            assert_eq!(breaker.state(now), State::HalfOpen);
            breaker.begin();
            assert_eq!(breaker.state(now), State::Trial);
            breaker.failed(now, false, &CONFIG);
            assert_eq!(breaker.state(now), State::Open { until: now + pause });
            now += pause;
        }
        breaker.begin();
        breaker.undecided();
        assert_eq!(breaker.state(now), State::HalfOpen);
    }

    #[test]
    fn failures_of_what_ran_already_do_not_make_the_pause_longer() {
        let mut breaker = Breaker::default();
        breaker.failed(0, true, &CONFIG);
        breaker.failed(1, false, &CONFIG);
        breaker.failed(2, true, &CONFIG);
        assert_eq!(breaker.state(3), State::Open { until: 1000 });
    }
}
