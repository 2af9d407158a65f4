//! Chooses the next token from the logits.
//!
//! The vocabulary is never sorted: what a filter keeps is gathered from the likeliest down, as far as it is needed.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use pool_core::serving::Sampling;

use super::TokenLogprob;
use crate::cpu::{Tier, argmax, exponentials};

/// The choices of one request. Same seed, same logits: same tokens.
pub struct Sampler {
    sampling: Sampling,
    random: Random,
    tier: Tier,
    /// Tokens of the context, for the repetition penalty.
    seen: BTreeSet<u32>,
    /// Logits, then the weight of each token: its probability over that of the likeliest.
    weights: Vec<f32>,
}

/// A token that may come next.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: u32,
    weight: f32,
}

impl Candidate {
    /// Most likely first; of equals the lower id, so the order never depends on an algorithm.
    fn order(&self, other: &Self) -> Ordering {
        other
            .weight
            .total_cmp(&self.weight)
            .then(self.id.cmp(&other.id))
    }
}

/// Every logit is NaN or minus infinity: the weights are broken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model gave no token a probability")]
pub struct NoToken;

impl Sampler {
    pub fn new(sampling: Sampling, seed: u64, prompt: &[u32]) -> Self {
        let seen = prompt.iter().copied().filter(|_| penalises(&sampling));
        Self {
            sampling,
            random: Random(seed),
            tier: Tier::best(),
            seen: seen.collect(),
            weights: Vec::new(),
        }
    }

    /// The next token. `logits` has one entry for each token of the vocabulary.
    ///
    /// In the order of `transformers`: penalty, temperature, top-k, top-p, min-p.
    pub fn sample(&mut self, logits: &[f32]) -> Result<u32, NoToken> {
        if self.takes_likeliest() {
            return self.likeliest(logits);
        }
        self.take(logits);
        self.penalise();
        let best = self.likeliest(&self.weights)?;
        let greedy = self.sampling.temperature == 0.0;
        let id = if greedy { best } else { self.draw() };
        if penalises(&self.sampling) {
            self.seen.insert(id);
        }
        Ok(id)
    }

    /// Whether each token is the one with the largest logit, whatever came before.
    pub fn takes_likeliest(&self) -> bool {
        self.sampling.temperature == 0.0 && !penalises(&self.sampling)
    }

    fn likeliest(&self, logits: &[f32]) -> Result<u32, NoToken> {
        argmax(self.tier, logits).map(|id| id as u32).ok_or(NoToken)
    }

    /// How likely a token was by the model alone, and the `top` likeliest.
    pub fn logprob(&mut self, logits: &[f32], id: u32, top: usize) -> TokenLogprob {
        self.take(logits);
        let most = argmax(self.tier, logits).map_or(0.0, |best| logits[best]);
        let total = exponentials(self.tier, &mut self.weights, 1.0);
        let logprob = |id: u32| logits[id as usize] - most - total.ln();
        let mut likely = self.likeliest_by(|candidates| candidates.len() >= top);
        likely.sort_unstable_by(Candidate::order);
        TokenLogprob {
            id,
            logprob: logprob(id),
            top: likely
                .iter()
                .take(top)
                .map(|c| (c.id, logprob(c.id)))
                .collect(),
        }
    }

    /// Copies logits, NaN as minus infinity.
    fn take(&mut self, logits: &[f32]) {
        let number = |&x: &f32| if x.is_nan() { f32::NEG_INFINITY } else { x };
        self.weights.clear();
        self.weights.extend(logits.iter().map(number));
    }

    /// Keskar et al., "CTRL", section 4.1, with the sign rule of `transformers`.
    fn penalise(&mut self) {
        // Below this the quotient overflows; a penalty of 0 means the same as the least one.
        let penalty = self.sampling.repetition_penalty.max(0.01);
        for &id in &self.seen {
            if let Some(logit) = self.weights.get_mut(id as usize) {
                *logit = if *logit > 0.0 {
                    *logit / penalty
                } else {
                    *logit * penalty
                };
            }
        }
    }

    /// Draws a token by the logits in `weights`.
    fn draw(&mut self) -> u32 {
        let Sampling {
            temperature,
            top_p,
            top_k,
            min_p,
            ..
        } = self.sampling;
        // Colder than this, the likeliest is the only one as far as f32 can tell.
        let by = 1.0 / temperature.max(1e-4);
        let total = exponentials(self.tier, &mut self.weights, by);
        let at = self.random.next_unit();
        let top_k = top_k as usize;
        let limits_k = top_k > 0 && top_k < self.weights.len();
        if !limits_k && top_p >= 1.0 && min_p <= 0.0 {
            let all = self.weights.iter().zip(0..);
            return drawn(all.map(|(&weight, id)| Candidate { id, weight }), total, at);
        }
        let wanted = f64::from(top_p) * f64::from(total);
        let mut candidates = self.likeliest_by(|candidates| {
            if limits_k {
                candidates.len() >= top_k
            } else {
                top_p < 1.0 && sum(candidates) >= wanted
            }
        });
        if limits_k && top_k < candidates.len() {
            candidates.select_nth_unstable_by(top_k - 1, Candidate::order);
            candidates.truncate(top_k);
        }
        if top_p < 1.0 {
            let of = if limits_k {
                sum(&candidates)
            } else {
                f64::from(total)
            };
            keep_nucleus(&mut candidates, f64::from(top_p) * of);
        }
        if min_p > 0.0 {
            candidates.retain(|c| c.weight >= min_p);
        }
        // Selection leaves any order; the draw must not depend on it.
        candidates.sort_unstable_by_key(|c| c.id);
        let total = sum(&candidates) as f32;
        drawn(candidates.into_iter(), total, at)
    }

    /// All tokens above some weight, which sinks until they are `enough`.
    fn likeliest_by(&self, enough: impl Fn(&[Candidate]) -> bool) -> Vec<Candidate> {
        let mut above = 0.05;
        loop {
            let all = above < f32::MIN_POSITIVE;
            let tokens = self.weights.iter().zip(0..);
            let likely = tokens.filter(|&(&weight, _)| all || weight >= above);
            let likely: Vec<_> = likely
                .map(|(&weight, id)| Candidate { id, weight })
                .collect();
            if all || enough(&likely) {
                return likely;
            }
            above *= 0.02;
        }
    }
}

fn penalises(sampling: &Sampling) -> bool {
    (sampling.repetition_penalty - 1.0).abs() > f32::EPSILON
}

fn sum(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.weight)).sum()
}

/// The candidate at `at`, from 0 to just below 1, of the weight of all.
fn drawn(candidates: impl Iterator<Item = Candidate>, total: f32, at: f64) -> u32 {
    let mut left = at * f64::from(total);
    let mut last = 0;
    for candidate in candidates {
        left -= f64::from(candidate.weight);
        last = candidate.id;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Keeps the fewest most likely candidates that reach the weight `wanted` together, at least one.
///
/// Only as many as needed are put in order: a selection that grows until its weight suffices.
fn keep_nucleus(candidates: &mut Vec<Candidate>, wanted: f64) {
    let mut size = 64;
    loop {
        let all = size >= candidates.len();
        if !all {
            candidates.select_nth_unstable_by(size - 1, Candidate::order);
        }
        let size_now = size.min(candidates.len());
        let head = &mut candidates[..size_now];
        if !all && sum(head) < wanted {
            size *= 4;
            continue;
        }
        head.sort_unstable_by(Candidate::order);
        let mut reached = 0.0;
        let needed = head.iter().take_while(|c| {
            let before = reached;
            reached += f64::from(c.weight);
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
        (0..2000).map(|_| sampler.sample(logits).unwrap()).collect()
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
        assert_eq!(sampler.sample(&LOGITS), Ok(1));
        assert_eq!(sampler.sample(&[1.0, 2.0, 2.0]), Ok(1));
        assert_eq!(sampler.sample(&[f32::NAN, 2.0, f32::NEG_INFINITY]), Ok(1));
        assert_eq!(sampler.sample(&[f32::NAN; 3]), Err(NoToken));
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
        let weights = (0..1000).map(|i| (-(i as f32) * 1e-3).exp());
        let candidates: Vec<_> = weights
            .zip(0..)
            .map(|(weight, id)| Candidate { id, weight })
            .collect();
        let wanted = 0.9 * sum(&candidates);
        let mut kept = candidates.clone();
        keep_nucleus(&mut kept, wanted);
        let mut reached = 0.0;
        let expected = candidates.iter().take_while(|c| {
            let before = reached;
            reached += f64::from(c.weight);
            before < wanted
        });
        assert!(kept.iter().map(|c| c.id).eq(expected.map(|c| c.id)));
    }

    /// What the filters keep of many tokens, against a sort of all of them.
    #[test]
    fn filters_of_a_large_vocabulary_keep_what_a_sort_would() {
        let mut random = Random(3);
        let logits: Vec<f32> = (0..50_000)
            .map(|_| (random.next_unit() * 30.0 - 15.0) as f32)
            .collect();
        let mut order: Vec<u32> = (0..50_000).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        let total: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
        let mut reached = 0.0;
        let nucleus = order.iter().take_while(|&&id| {
            let before = reached;
            reached += f64::from(logits[id as usize]).exp();
            before < 0.7 * total
        });
        let nucleus: BTreeSet<u32> = nucleus.copied().collect();
        assert!(nucleus.len() > 1000);
        let sampling = |top_k, top_p| Sampling {
            top_k,
            top_p,
            ..Sampling::default()
        };
        let few: BTreeSet<u32> = order[..7].iter().copied().collect();
        for (sampling, allowed) in [(sampling(0, 0.7), nucleus), (sampling(7, 1.0), few)] {
            let drawn = drawn(sampling, &logits);
            assert!(drawn.len() >= 5 && drawn.is_subset(&allowed));
        }
    }

    #[test]
    fn probabilities_are_those_of_the_model() {
        let probabilities = [0.5_f32, 0.3, 0.15, 0.05];
        let logits = probabilities.map(|p| p.ln() + 7.0);
        let mut sampler = Sampler::new(Sampling::greedy(), 0, &[]);
        let found = sampler.logprob(&logits, 2, 3);
        assert!((found.logprob - 0.15_f32.ln()).abs() < 1e-5);
        let ids: Vec<u32> = found.top.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, [0, 1, 2]);
        for (id, logprob) in found.top {
            assert!((logprob - probabilities[id as usize].ln()).abs() < 1e-5);
        }
        assert_eq!(sampler.logprob(&logits, 0, 0).top, []);
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let mut sampler = Sampler::new(Sampling::default(), 3, &[]);
        let logits = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let mut counts = [0_u32; 3];
        for _ in 0..20_000 {
            counts[sampler.sample(&logits).unwrap() as usize] += 1;
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
                .map(|_| sampler.sample(&LOGITS).unwrap())
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
        assert_eq!(sampler.sample(&LOGITS), Ok(5));
        assert_eq!(sampler.sample(&[-1.0, -2.0, f32::NEG_INFINITY]), Ok(0));
        let extreme = Sampling {
            repetition_penalty: 0.0,
            ..Sampling::greedy()
        };
        assert_eq!(Sampler::new(extreme, 0, &[2]).sample(&LOGITS), Ok(2));
    }

    #[test]
    fn the_generator_is_splitmix64() {
        // From the reference implementation, https://prng.di.unimi.it/splitmix64.c, with the state 1234567.
        let mut random = Random(1_234_567);
        assert_eq!(random.next(), 6_457_827_717_110_365_317);
        assert_eq!(random.next(), 3_203_168_211_198_807_973);
    }
}
