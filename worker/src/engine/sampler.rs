//! Chooses the next token from the logits.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use pool_core::serving::Sampling;

/// The choices of one request. Same seed, same logits: same tokens.
pub struct Sampler {
    sampling: Sampling,
    random: Random,
    /// Tokens of the context, for the repetition penalty.
    seen: BTreeSet<u32>,
}

/// A token that may come next.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    logit: f32,
}

impl Candidate {
    /// Most likely first; of equals the lower id, so the order never depends on an algorithm.
    fn order(&self, other: &Self) -> Ordering {
        other
            .logit
            .total_cmp(&self.logit)
            .then(self.id.cmp(&other.id))
    }
}

/// Every logit is NaN or minus infinity: the weights are broken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no token a probability")]
pub struct NoToken;

impl Sampler {
    pub fn new(sampling: Sampling, seed: u64, prompt: &[u32]) -> Self {
        let penalises = (sampling.repetition_penalty - 1.0).abs() > f32::EPSILON;
        let seen = prompt.iter().copied().filter(|_| penalises).collect();
        Self {
            sampling,
            random: Random(seed),
            seen,
        }
    }

    /// The next token. `logits` has one entry for each token of the vocabulary.
    ///
    /// In the order of `transformers`: penalty, temperature, top-k, top-p, min-p.
    pub fn sample(&mut self, mut logits: Vec<f32>) -> Result<u32, NoToken> {
        self.penalise(&mut logits);
        let candidates = logits
            .into_iter()
            .zip(0..)
            .map(|(logit, id)| Candidate { id, logit });
        let candidates: Vec<_> = candidates.filter(|c| c.logit > f32::NEG_INFINITY).collect();
        let best = *candidates.iter().min_by(|a, b| a.order(b)).ok_or(NoToken)?;
        let id = if self.sampling.temperature == 0.0 {
            best.id
        } else {
            self.draw(candidates, best.logit)
        };
        if (self.sampling.repetition_penalty - 1.0).abs() > f32::EPSILON {
            self.seen.insert(id);
        }
        Ok(id)
    }

    /// Keskar et al., "CTRL", section 4.1, with the sign rule of `transformers`.
    fn penalise(&self, logits: &mut [f32]) {
        // Below this the quotient overflows; a penalty of 0 means the same as the least one.
        let penalty = self.sampling.repetition_penalty.max(0.01);
        for &id in &self.seen {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    fn draw(&mut self, mut candidates: Vec<Candidate>, most: f32) -> u32 {
        let Sampling {
            temperature,
            top_p,
            top_k,
            min_p,
            ..
        } = self.sampling;
        // Relative to the most likely token, whose weight is 1.
        let weight = |c: &Candidate| (f64::from(c.logit - most) / f64::from(temperature)).exp();
        let top_k = top_k as usize;
        if top_k > 0 && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, Candidate::order);
            candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            keep_nucleus(&mut candidates, f64::from(top_p), weight);
        }
        if min_p > 0.0 {
            candidates.retain(|c| weight(c) >= f64::from(min_p));
        }
        // Selection leaves any order; the draw must not depend on it.
        candidates.sort_unstable_by_key(|c| c.id);
        let total: f64 = candidates.iter().map(weight).sum();
        let mut left = self.random.next_unit() * total;
        let drawn = candidates.iter().find(|c| {
            left -= weight(c);
            left < 0.0
        });
        drawn.or(candidates.last()).map_or(0, |c| c.id)
    }
}

/// Keeps the fewest most likely candidates that reach the share `top_p` of the weight together, at least one.
///
/// Only as many as needed are put in order: a selection that grows until its weight suffices.
fn keep_nucleus(candidates: &mut Vec<Candidate>, top_p: f64, weight: impl Fn(&Candidate) -> f64) {
    let wanted = top_p * candidates.iter().map(&weight).sum::<f64>();
    let mut size = 64;
    loop {
        let all = size >= candidates.len();
        if !all {
            candidates.select_nth_unstable_by(size - 1, Candidate::order);
        }
        let size_now = size.min(candidates.len());
        let head = &mut candidates[..size_now];
        if !all && head.iter().map(&weight).sum::<f64>() < wanted {
            size *= 4;
            continue;
        }
        head.sort_unstable_by(Candidate::order);
        let mut reached = 0.0;
        let needed = head.iter().take_while(|c| {
            let before = reached;
            reached += weight(c);
            before < wanted
        });
        let needed = needed.count().max(1);
        candidates.truncate(needed);
        return;
    }
}

/// `SplitMix64`: Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 to just below 1.
    fn next_unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 6] = [0.0, 3.0, 1.0, 2.0, -1.0, 2.5];

    /// The tokens that come up in many draws.
    fn drawn(sampling: Sampling, logits: &[f32]) -> BTreeSet<u32> {
        let mut sampler = Sampler::new(sampling, 1, &[]);
        (0..2000)
            .map(|_| sampler.sample(logits.to_vec()).unwrap())
            .collect()
    }

    fn hot() -> Sampling {
        Sampling {
            temperature: 2.0,
            ..Sampling::default()
        }
    }

    #[test]
    fn greedy_takes_the_most_likely_and_of_equals_the_first() {
        let mut sampler = Sampler::new(Sampling::greedy(), 9, &[]);
        assert_eq!(sampler.sample(LOGITS.to_vec()), Ok(1));
        assert_eq!(sampler.sample(vec![1.0, 2.0, 2.0]), Ok(1));
        assert_eq!(
            sampler.sample(vec![f32::NAN, 2.0, f32::NEG_INFINITY]),
            Ok(1)
        );
        assert_eq!(sampler.sample(vec![f32::NAN; 3]), Err(NoToken));
    }

    #[test]
    fn each_filter_keeps_what_it_should() {
        assert_eq!(drawn(hot(), &LOGITS), (0..6).collect());
        let top_k = Sampling { top_k: 2, ..hot() };
        assert_eq!(drawn(top_k, &LOGITS), [1, 5].into());
        let min_p = Sampling {
            min_p: 0.6,
            ..hot()
        };
        // exp(-0.5 / 2) = 0.78, exp(-1 / 2) = 0.61, exp(-2 / 2) = 0.37 of the most likely.
        assert_eq!(drawn(min_p, &LOGITS), [1, 3, 5].into());
        let top_p = Sampling {
            top_p: 0.5,
            ..hot()
        };
        // Weights 1, 0.78, 0.61, 0.37, 0.22, 0.14 of 3.11: half is reached with two.
        assert_eq!(drawn(top_p, &LOGITS), [1, 5].into());
        let nothing = Sampling {
            top_p: 0.0,
            ..hot()
        };
        assert_eq!(drawn(nothing, &LOGITS), [1].into());
    }

    #[test]
    fn a_nucleus_larger_than_the_first_selection_is_whole() {
        let logits: Vec<f32> = (0..1000).map(|i| -(i as f32) * 1e-3).collect();
        let candidates = logits
            .iter()
            .zip(0..)
            .map(|(&logit, id)| Candidate { id, logit });
        let weight = |c: &Candidate| f64::from(c.logit).exp();
        let mut kept: Vec<_> = candidates.clone().collect();
        keep_nucleus(&mut kept, 0.9, weight);
        let total: f64 = candidates.clone().map(|c| weight(&c)).sum();
        let mut sum = 0.0;
        let expected = candidates.take_while(|c| {
            let before = sum;
            sum += weight(c);
            before < 0.9 * total
        });
        assert!(kept.iter().map(|c| c.id).eq(expected.map(|c| c.id)));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = Sampler::new(Sampling::default(), 3, &[]);
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[sampler.sample(logits.to_vec()).unwrap() as usize] += 1;
        }
        for (count, expected) in counts.into_iter().zip([10_000, 6_000, 4_000]) {
            assert!(count.abs_diff(expected) < 300, "{counts:?}");
        }
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| {
            let mut sampler = Sampler::new(hot(), seed, &[]);
            (0..50)
                .map(|_| sampler.sample(LOGITS.to_vec()).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(draw(5), draw(5));
        assert_ne!(draw(5), draw(6));
    }

    #[test]
    fn a_token_that_was_there_becomes_less_likely() {
        let penalty = Sampling {
            repetition_penalty: 1.5,
            ..Sampling::greedy()
        };
        let mut sampler = Sampler::new(penalty, 0, &[1, 0]);
        // 3 / 1.5 = 2 falls below 2.5; then 2.5 / 1.5 falls below 2.
        assert_eq!(sampler.sample(LOGITS.to_vec()), Ok(5));
        assert_eq!(sampler.sample(vec![-1.0, -2.0, f32::NEG_INFINITY]), Ok(0));
        let extreme = Sampling {
            repetition_penalty: 0.0,
            ..Sampling::greedy()
        };
        assert_eq!(
            Sampler::new(extreme, 0, &[2]).sample(LOGITS.to_vec()),
            Ok(2)
        );
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // From the reference implementation, https://prng.di.unimi.it/splitmix64.c, with the state 1234567.
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }
}
