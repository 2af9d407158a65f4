//! How fast something goes, and when to say so.

use std::time::{Duration, Instant};

use pool_core::rpc::Moved;
use pool_core::units;

/// The pace of one action. What was there before its first bytes is no part of the rate.
#[derive(Debug)]
pub(super) struct Meter {
    /// The shortest time between two words about it.
    every: Duration,
    told: Option<Instant>,
    first: Option<(Instant, u64)>,
    pub moved: Option<Moved>,
    pub message: String,
}

impl Meter {
    /// `told` is when something was last said, if it was.
    pub fn new(every: Duration, told: Option<Instant>) -> Self {
        Self {
            every,
            told,
            first: None,
            moved: None,
            message: String::new(),
        }
    }

    pub fn bytes(&mut self, now: Instant, done: u64, total: u64) {
        self.first.get_or_insert((now, done));
        self.moved = Some(Moved { done, total });
    }

    /// Whether it is time to say something, which is then taken as said.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let due = self
            .told
            .is_none_or(|told| now.duration_since(told) >= self.every);
        if due {
            self.told = Some(now);
        }
        due
    }

    /// Bytes a second, once that can be told.
    pub fn rate(&self, now: Instant) -> Option<u64> {
        let ((since, had), moved) = (self.first?, self.moved?);
        let seconds = now.duration_since(since).as_secs_f64();
        let came = moved.done.saturating_sub(had);
        (came > 0 && seconds >= 0.1).then(|| (came as f64 / seconds) as u64)
    }

    /// Seconds until the end at this rate.
    pub fn eta_s(&self, now: Instant) -> Option<u64> {
        let (rate, moved) = (self.rate(now)?, self.moved?);
        let left = moved.total.saturating_sub(moved.done);
        (rate > 0).then(|| left.div_ceil(rate))
    }

    /// `1.2 GB of 4.0 GB, 85.2 MB/s, 33 s left`
    pub fn text(&self, now: Instant) -> String {
        let Some(Moved { done, total }) = self.moved else {
            return self.message.clone();
        };
        let mut text = format!("{} of {}", units::bytes(done), units::bytes(total));
        if let Some(rate) = self.rate(now) {
            text += &format!(", {}/s", units::bytes(rate));
        }
        if let Some(seconds) = self.eta_s(now) {
            text += &format!(", {} left", time(seconds));
        }
        text
    }
}

/// `33 s`, `12 min`, `3 h`.
pub(super) fn time(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds.div_ceil(60)),
        _ => format!("{} h", seconds.div_ceil(3600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begun: Instant, ms: u64) -> Instant {
        begun + Duration::from_millis(ms)
    }

    #[test]
    fn what_was_there_before_does_not_make_it_look_fast() {
        let begun = Instant::now();
        let mut meter = Meter::new(Duration::from_secs(10), Some(begun));
        meter.bytes(begun, 3_000_000_000, 4_000_000_000);
        assert_eq!(meter.text(begun), "3.0 GB of 4.0 GB");
        assert_eq!((meter.rate(begun), meter.eta_s(begun)), (None, None));
        meter.bytes(at(begun, 10_000), 3_200_000_000, 4_000_000_000);
        let now = at(begun, 10_000);
        assert_eq!(
            (meter.rate(now), meter.eta_s(now)),
            (Some(20_000_000), Some(40))
        );
        assert_eq!(meter.text(now), "3.2 GB of 4.0 GB, 20.0 MB/s, 40 s left");
        let later = at(begun, 100_000);
        assert_eq!(meter.text(later), "3.2 GB of 4.0 GB, 2.0 MB/s, 7 min left");
    }

    #[test]
    fn a_line_comes_after_ten_seconds_and_then_every_ten() {
        let begun = Instant::now();
        let mut meter = Meter::new(Duration::from_secs(10), Some(begun));
        let due: Vec<u64> = (0..=35)
            .filter(|s| meter.is_due(at(begun, s * 1000)))
            .collect();
        assert_eq!(due, [10, 20, 30]);
    }

    #[test]
    fn a_stream_begins_at_once_and_has_at_most_four_events_a_second() {
        let begun = Instant::now();
        let mut meter = Meter::new(Duration::from_millis(250), None);
        let due = (0..1000).filter(|ms| meter.is_due(at(begun, *ms))).count();
        assert_eq!(due, 4);
    }
}
