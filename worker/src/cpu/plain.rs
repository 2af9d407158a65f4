//! Operations on numbers side by side, in plain Rust: `raw` compiles each for every tier, and the compiler makes them
//! vectors.
//!
//! Sums and maxima over a slice go by 16 lanes, so that their order is one of vectors whatever the tier.
#![allow(
    clippy::inline_always,
    reason = "a body must be compiled inside the function that enables the instructions"
)]

use super::activations::Group;
use super::kind::{GROUP, LANES};

/// Adding it to a small number leaves that number, rounded to an integer, in the low bits: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// `e^x` within 2 units of the last place. Below -87.33 it stays at the smallest normal number, above 88.37 at the
/// largest power.
///
/// Reduction by ln 2 in two parts and a polynomial of degree 5 for the rest: Cephes, `expf`.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Comparisons, not `clamp` or `min`, so that NaN stays NaN.
    let x = if x < -87.33 { -87.33 } else { x };
    let x = if x > 88.37 { 88.37 } else { x };
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = 1.987_569_1e-4_f32;
    let p = p.mul_add(r, 1.398_2e-3);
    let p = p.mul_add(r, 8.333_452e-3);
    let p = p.mul_add(r, 4.166_579_6e-2);
    let p = p.mul_add(r, 1.666_666_5e-1);
    let p = p.mul_add(r, 0.5);
    let value = p.mul_add(r * r, r) + 1.0;
    // 2^n: the integer goes to the place of the exponent.
    value * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// Quantises groups of 32 to the nearest multiple of their largest absolute value over 127.
#[inline(always)]
pub fn quantise(x: &[f32], groups: &mut [Group]) {
    for (x, group) in x.chunks_exact(GROUP).zip(groups) {
        // The bits of absolute values are in order, NaN above all, so it stays visible in the scale.
        let bits = |x: &f32| x.to_bits() & 0x7fff_ffff;
        let largest = f32::from_bits(x.iter().map(bits).fold(0, u32::max));
        group.scale = largest / 127.0;
        let inverse = if group.scale >= f32::MIN_POSITIVE {
            1.0 / group.scale
        } else {
            0.0
        };
        let mut sum = 0;
        for (q, x) in group.q.iter_mut().zip(x) {
            let rounded = (x * inverse + ROUND)
                .to_bits()
                .wrapping_sub(ROUND.to_bits());
            *q = rounded as i8;
            sum += i32::from(*q);
        }
        group.sum = sum;
    }
}

#[inline(always)]
fn by_lanes(x: &[f32], start: f32, f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [start; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for x in whole {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = f(*lane, *x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = f(*lane, *x);
    }
    lanes
}

/// The largest number; -∞ of none.
#[inline(always)]
pub fn largest(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    by_lanes(x, f32::NEG_INFINITY, larger)
        .into_iter()
        .fold(f32::NEG_INFINITY, larger)
}

/// Turns `x` into `e^(x * by - m)` and returns the sum; `m` is the largest of `x * by`, `by` is positive.
#[inline(always)]
pub fn exponentials(x: &mut [f32], by: f32) -> f32 {
    let top = largest(x) * by;
    for x in x.iter_mut() {
        *x = exp(*x * by - top);
    }
    by_lanes(x, 0.0, |a, b| a + b).into_iter().sum()
}

/// `out = x / sqrt(mean(x²) + eps) * weight`. Zhang and Sennrich, "Root Mean Square Layer Normalization".
#[inline(always)]
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let squares: f32 = by_lanes(x, 0.0, |sum, x| x.mul_add(x, sum))
        .into_iter()
        .sum();
    let by = 1.0 / (squares / x.len() as f32 + eps).sqrt();
    for ((out, x), weight) in out.iter_mut().zip(x).zip(weight) {
        *out = x * by * weight;
    }
}

/// `gate = gate / (1 + e^-gate) * up`. Shazeer, "GLU Variants Improve Transformer".
#[inline(always)]
pub fn swiglu(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

/// `x += y`
#[inline(always)]
pub fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

/// `x *= by`
#[inline(always)]
pub fn scale(x: &mut [f32], by: f32) {
    for x in x {
        *x *= by;
    }
}

/// Turns the pairs of one head: `x[i]` with `x[i + half]`, where `half` is the length of `cos`.
#[inline(always)]
pub fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32]) {
    let (first, second) = head.split_at_mut(cos.len());
    for (((a, b), cos), sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// Rounds to bf16, to the nearest and of two to the even one, two in a word, the first in its low half. Where the last has
/// no second, it is 0.
pub fn round(x: &[f32], pairs: &mut [u32]) {
    let (twos, last) = x.as_chunks::<2>();
    for (two, pair) in twos.iter().zip(&mut *pairs) {
        *pair = bf16_bits(two[0]) | bf16_bits(two[1]) << 16;
    }
    if let ([last], Some(pair)) = (last, pairs.last_mut()) {
        *pair = bf16_bits(*last);
    }
}

fn bf16_bits(x: f32) -> u32 {
    let bits = x.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1))) >> 16;
    // Rounded up, the bits of what is no number could become those of one.
    if x.is_nan() {
        bits >> 16 | 0x40
    } else {
        rounded
    }
}
