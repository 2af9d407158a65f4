//! How many tokens of prompts a step takes, so that nobody waits long for it.

use std::time::Duration;

use crate::model::MOST_ROWS;

/// How long the prompts of a step may take: what answers that run wait, and what a cancelled request takes to end.
const TARGET: Duration = Duration::from_millis(80);
/// Steps without prompts from which on it is known how long one takes: the first of a worker take longer.
const MEASURED: u32 = 16;
/// Rows that the kernels take at a time.
const TILE: usize = 8;

/// Follows how long steps take.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Seconds for a token of a prompt; not yet known when 0.
    prompt_token: f64,
    /// Seconds of a step without prompts, of which there were so many, and of any step.
    decode: f64,
    decodes: u32,
    step: f64,
}

impl Pace {
    /// Tokens of prompts for the next step.
    pub fn prompt_tokens(&self) -> usize {
        if self.prompt_token == 0.0 {
            return 4 * TILE;
        }
        let tokens = (TARGET.as_secs_f64() / self.prompt_token) as usize;
        tokens.clamp(TILE, MOST_ROWS) / TILE * TILE
    }

    /// A step with so many tokens of prompts, and others, took so long.
    pub fn took(&mut self, prompt_tokens: usize, time: Duration) {
        let time = time.as_secs_f64();
        follow(&mut self.step, time);
        if prompt_tokens == 0 {
            follow(&mut self.decode, time);
            self.decodes = self.decodes.saturating_add(1);
        } else if prompt_tokens >= TILE {
            // A step costs at least one pass over the weights, whatever is in it.
            let alone = (time - self.decode).max(time / 2.0);
            follow(&mut self.prompt_token, alone / prompt_tokens as f64);
        }
    }

    /// How long a step without prompts takes, which is a token of each request that runs; no time before that is known.
    pub fn decode(&self) -> Duration {
        if self.decodes < MEASURED {
            return Duration::ZERO;
        }
        Duration::from_secs_f64(self.decode)
    }

    /// How long steps take.
    pub fn step(&self) -> Duration {
        Duration::from_secs_f64(self.step)
    }
}

/// A mean in which the last few count most.
pub(super) fn follow(mean: &mut f64, value: f64) {
    *mean = if *mean == 0.0 {
        value
    } else {
        0.8 * *mean + 0.2 * value
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_steps_do_not_tell_how_long_one_takes() {
        let mut pace = Pace::default();
        for _ in 1..MEASURED {
            pace.took(0, Duration::from_millis(10));
            pace.took(8, Duration::from_millis(50));
            assert_eq!(pace.decode(), Duration::ZERO);
        }
        pace.took(0, Duration::from_millis(10));
        assert_eq!(pace.decode().as_millis(), 10);
    }

    #[test]
    fn prompts_take_what_fits_the_time() {
        let mut pace = Pace::default();
        assert_eq!(pace.prompt_tokens(), 32);
        for _ in 0..50 {
            pace.took(0, Duration::from_millis(10));
            // One millisecond each.
            pace.took(64, Duration::from_millis(74));
        }
        assert_eq!(pace.prompt_tokens(), 80);
        for _ in 0..50 {
            pace.took(8, Duration::from_secs(10));
        }
        assert_eq!(pace.prompt_tokens(), 8);
        for _ in 0..100 {
            pace.took(512, Duration::from_micros(10));
        }
        assert_eq!(pace.prompt_tokens(), 512);
    }
}
