//! Rotary position embedding and the ways to stretch it.
//!
//! Su et al., "`RoFormer`", section 3.2.2; the two numbers of a pair are half the turned part of a head apart, as in
//! Hugging Face checkpoints. The scalings are those of `modeling_rope_utils.py` in `transformers`, in its order of
//! operations: frequencies in f32, their product with the position in f32, then cosine and sine.

use std::f64::consts::TAU;

use super::config::Positions;

/// How fast the pairs of a head turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Numbers of a head that turn; those behind stay as they are.
    pub turned: usize,
    kind: Kind,
    /// What cosines and sines are multiplied by.
    attention: f32,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Fixed(Vec<f32>),
    /// NTK scaling: beyond `context` positions the base grows with the length.
    Dynamic {
        theta: f64,
        factor: f64,
        context: usize,
    },
    /// One set of frequencies up to `original` positions, another for longer sequences.
    Long {
        short: Vec<f32>,
        long: Vec<f32>,
        original: usize,
        context: usize,
    },
    /// Scaled in one way, for `context` positions.
    Scaled {
        frequencies: Vec<f32>,
        context: usize,
    },
}

impl Rope {
    /// The names of the scalings, older spellings among them.
    pub const KINDS: [&str; 7] = [
        "default", "linear", "dynamic", "yarn", "longrope", "su", "llama3",
    ];
    pub const SUPPORTED: &str = "default, linear, dynamic, llama3, yarn, longrope";

    pub(super) fn new(
        positions: &Positions,
        head_dim: usize,
        context: usize,
    ) -> Result<Self, String> {
        let theta = positions.rope_theta.unwrap_or(10_000.0);
        let partial = positions.partial_rotary_factor.unwrap_or(1.0);
        let turned = (head_dim as f64 * partial) as usize;
        if !(theta > 0.0 && theta.is_finite()) {
            return Err("rope_theta must be positive".to_owned());
        }
        if turned < 2 || !turned.is_multiple_of(2) || turned > head_dim {
            return Err(format!(
                "partial_rotary_factor {partial} turns {turned} of {head_dim} numbers"
            ));
        }
        let kind = positions.rope_type.as_deref().unwrap_or("default");
        let original = positions.original_max_position_embeddings;
        let plain = || frequencies(theta, turned);
        // Where a file leaves the factor out, it is how far the context was stretched.
        let stretched = || Some(context as f64 / original? as f64);
        let factor = || match positions.factor.or_else(stretched) {
            Some(factor) if factor > 0.0 && factor.is_finite() => Ok(factor),
            _ => Err(format!("the rope scaling `{kind}` has no positive factor")),
        };
        let reached =
            |factor: f64, original: usize| context.max((original as f64 * factor) as usize);
        let mut attention = 1.0;
        let kind = match kind {
            "linear" => {
                let factor = factor()?;
                let frequencies = plain().into_iter().map(|f| f / factor as f32).collect();
                Kind::Scaled {
                    frequencies,
                    context: reached(factor, original.unwrap_or(context)),
                }
            }
            "dynamic" => {
                if turned == 2 {
                    return Err("dynamic rope scaling needs more than one pair".to_owned());
                }
                Kind::Dynamic {
                    theta,
                    factor: factor()?,
                    context,
                }
            }
            "llama3" => {
                let original = original.unwrap_or(context);
                let frequencies = llama3(plain(), positions, factor()?, original)?;
                Kind::Scaled {
                    frequencies,
                    context,
                }
            }
            "yarn" => {
                let (factor, original) = (factor()?, original.unwrap_or(context));
                attention = yarn_attention(positions, factor);
                let frequencies = yarn(positions, theta, turned, factor, original);
                Kind::Scaled {
                    frequencies,
                    context: reached(factor, original),
                }
            }
            "longrope" | "su" => {
                let original = original.unwrap_or(context);
                let factor = positions.factor.unwrap_or(context as f64 / original as f64);
                let scale = 1.0 + factor.ln() / (original as f64).ln();
                let inferred = if factor <= 1.0 { 1.0 } else { scale.sqrt() };
                attention = positions.attention_factor.unwrap_or(inferred);
                let scaled = |factors: &Option<Vec<f64>>, name: &str| match factors {
                    Some(factors) if factors.len() == turned / 2 => {
                        Ok(longrope(factors, theta, turned))
                    }
                    _ => Err(format!("{name} must have {} numbers", turned / 2)),
                };
                Kind::Long {
                    short: scaled(&positions.short_factor, "short_factor")?,
                    long: scaled(&positions.long_factor, "long_factor")?,
                    original,
                    context,
                }
            }
            _ => Kind::Fixed(plain()),
        };
        if !attention.is_finite() {
            return Err("the rope scaling's attention factor is no number".to_owned());
        }
        Ok(Self {
            turned,
            kind,
            attention: attention as f32,
        })
    }

    /// Positions that this rope reaches, where the file names `positions`.
    pub(super) fn context(&self, positions: usize) -> usize {
        match &self.kind {
            Kind::Fixed(_) => positions,
            Kind::Dynamic {
                factor, context, ..
            } => (*context as f64 * factor.max(1.0)) as usize,
            Kind::Long { context, .. } | Kind::Scaled { context, .. } => *context,
        }
    }

    /// Whether a sequence that grows from one length to another must be computed again from its start, as `transformers` does
    /// where the long factors take over.
    pub fn starts_again(&self, from: usize, to: usize) -> bool {
        match &self.kind {
            Kind::Long { original, .. } => from > 0 && from <= *original && to > *original,
            _ => false,
        }
    }

    /// Whether positions turn the same in sequences of these lengths.
    pub fn same(&self, a: usize, b: usize) -> bool {
        match &self.kind {
            Kind::Fixed(_) | Kind::Scaled { .. } => true,
            Kind::Long { original, .. } => (a > *original) == (b > *original),
            Kind::Dynamic { context, .. } => a.max(*context) == b.max(*context),
        }
    }

    /// How far each pair turns a position, (turned / 2), for a sequence of this length.
    pub fn frequencies(&self, length: usize) -> Vec<f32> {
        match &self.kind {
            Kind::Fixed(frequencies) | Kind::Scaled { frequencies, .. } => frequencies.clone(),
            Kind::Long {
                short,
                long,
                original,
                ..
            } => if length > *original { long } else { short }.clone(),
            Kind::Dynamic {
                theta,
                factor,
                context,
            } => {
                let (length, context) = (length.max(*context) as f64, *context as f64);
                let dim = self.turned as f64;
                let growth = factor * length / context - (factor - 1.0);
                frequencies(theta * growth.powf(dim / (dim - 2.0)), self.turned)
            }
        }
    }

    /// Cosines and sines of positions from `first` on, each (positions, turned / 2), for a sequence of this length.
    pub fn angles(&self, first: usize, positions: usize, length: usize) -> (Vec<f32>, Vec<f32>) {
        let frequencies = self.frequencies(length);
        let angle = |position: usize| {
            let frequencies = frequencies.iter();
            frequencies.map(move |frequency| f64::from(position as f32 * frequency))
        };
        let scaled = |x: f64| x as f32 * self.attention;
        (first..first + positions)
            .flat_map(angle)
            .map(|angle| (scaled(angle.cos()), scaled(angle.sin())))
            .unzip()
    }
}

/// `1 / theta^(2i / dim)`.
fn frequencies(theta: f64, dim: usize) -> Vec<f32> {
    powers(theta, dim).map(|power| 1.0 / power).collect()
}

/// `theta^(2i / dim)` in f32.
fn powers(theta: f64, dim: usize) -> impl Iterator<Item = f32> {
    (0..dim / 2).map(move |i| theta.powf(f64::from((2 * i) as f32 / dim as f32)) as f32)
}

/// Meta's Llama 3.1: long waves are stretched, short ones stay, those between are mixed.
fn llama3(
    plain: Vec<f32>,
    positions: &Positions,
    factor: f64,
    original: usize,
) -> Result<Vec<f32>, String> {
    let (Some(low), Some(high)) = (positions.low_freq_factor, positions.high_freq_factor) else {
        return Err("llama3 rope scaling needs low_freq_factor and high_freq_factor".to_owned());
    };
    let original = original as f64;
    let scaled = |frequency: f32| {
        let wave = TAU / f64::from(frequency);
        if wave < original / high {
            frequency
        } else if wave > original / low {
            frequency / factor as f32
        } else {
            let smooth = (original / wave - low) / (high - low);
            let frequency = f64::from(frequency);
            ((1.0 - smooth) * frequency / factor + smooth * frequency) as f32
        }
    };
    Ok(plain.into_iter().map(scaled).collect())
}

/// Peng et al., "`YaRN`", section 3.2 and appendix A.2.
fn yarn(positions: &Positions, theta: f64, dim: usize, factor: f64, original: usize) -> Vec<f32> {
    let set =
        |value: Option<f64>, default: f64| value.filter(|value| *value != 0.0).unwrap_or(default);
    let correction = |rotations: f64| {
        dim as f64 * (original as f64 / (rotations * TAU)).ln() / (2.0 * theta.ln())
    };
    let mut low = correction(set(positions.beta_fast, 32.0));
    let mut high = correction(set(positions.beta_slow, 1.0));
    if positions.truncate.unwrap_or(true) {
        (low, high) = (low.floor(), high.ceil());
    }
    let low = low.max(0.0);
    let mut high = high.min(dim as f64 - 1.0);
    if (high - low).abs() < f64::EPSILON {
        high += 0.001;
    }
    let mix = |(i, power): (usize, f32)| {
        let ramp = (((i as f64 - low) / (high - low)) as f32).clamp(0.0, 1.0);
        let keep = 1.0 - ramp;
        1.0 / (factor as f32 * power) * (1.0 - keep) + 1.0 / power * keep
    };
    powers(theta, dim).enumerate().map(mix).collect()
}

/// Section 3.4 of the same, with the extensions that checkpoints use.
fn yarn_attention(positions: &Positions, factor: f64) -> f64 {
    let scale = |mscale: f64| {
        if factor <= 1.0 {
            1.0
        } else {
            0.1 * mscale * factor.ln() + 1.0
        }
    };
    let given = |value: Option<f64>| value.filter(|value| *value != 0.0);
    positions.attention_factor.unwrap_or_else(|| {
        match (given(positions.mscale), given(positions.mscale_all_dim)) {
            (Some(mscale), Some(all)) => scale(mscale) / scale(all),
            _ => scale(1.0),
        }
    })
}

/// Ding et al., "`LongRoPE`": a factor for each pair.
fn longrope(factors: &[f64], theta: f64, dim: usize) -> Vec<f32> {
    powers(theta, dim)
        .zip(factors)
        .map(|(power, factor)| 1.0 / (*factor as f32 * power))
        .collect()
}
