//! When to ask again.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::Duration;

use super::Trouble;

/// The first pause; each is twice the one before.
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(20);

/// Failures in a row without one byte between them, for content: about a minute.
const FAILURES: u32 = 9;

/// The same for other pools.
const LEAST: u32 = 2;

/// The same for questions that somebody waits for: about two seconds.
const FEW: u32 = 4;

/// Waits that are asked for and are longer end the fetch: what came is kept.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// How long to go on trying.
#[derive(Debug)]
pub struct Patience {
    failures: u32,
    most: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            failures: 0,
            most: FAILURES,
        }
    }
}

impl Patience {
    /// For a pool, which others can take the place of.
    pub fn least() -> Self {
        Self {
            failures: 0,
            most: LEAST,
        }
    }

    /// For a question that somebody waits for.
    pub fn little() -> Self {
        Self {
            failures: 0,
            most: FEW,
        }
    }

    /// Something came.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// How long to wait before the next try; none to give up.
    pub fn after(&mut self, trouble: Trouble) -> Option<Duration> {
        let Trouble::Passing(asked) = trouble else {
            return None;
        };
        self.failures += 1;
        if self.failures >= self.most || asked.is_some_and(|asked| asked > LONGEST_ASKED) {
            return None;
        }
        let pause = FIRST.saturating_mul(1 << (self.failures - 1)).min(LONGEST);
        // Between half of the pause and all of it, so that those who failed together do not come back together.
        let pause = pause.mul_f64(0.5 + fraction() / 2.0);
        Some(asked.map_or(pause, |asked| asked + pause / 4))
    }
}

/// A number from 0 to 1.
fn fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut patience = Patience::default();
        let passing = Trouble::Passing(None);
        let pauses: Vec<Duration> = std::iter::from_fn(|| patience.after(passing)).collect();
        assert_eq!(pauses.len(), FAILURES as usize - 1);
        let all: Duration = pauses.iter().sum();
        assert!(all > Duration::from_secs(15), "{all:?}");
        for (place, pause) in pauses.iter().enumerate() {
            let whole = FIRST.saturating_mul(1 << place).min(LONGEST);
            assert!(
                (whole / 2..=whole).contains(pause),
                "{pause:?} of {whole:?}"
            );
        }
        patience.reset();
        assert!(patience.after(passing).is_some_and(|pause| pause <= FIRST));
    }

    #[test]
    fn who_says_when_is_not_asked_sooner() {
        let asked = Duration::from_secs(5);
        let mut patience = Patience::default();
        let pause = patience.after(Trouble::Passing(Some(asked)));
        assert!(pause.is_some_and(|pause| pause >= asked));
        let long = Trouble::Passing(Some(LONGEST_ASKED * 2));
        assert_eq!(Patience::default().after(long), None);
        assert_eq!(Patience::default().after(Trouble::Lasting), None);
    }
}
