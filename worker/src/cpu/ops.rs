//! The small operations of a decoder, over rows.

use super::{Cpu, Tier, raw};

/// Numbers below which waking other threads costs more than it saves.
const ALONE: usize = 16 * 1024;

/// Rows below which an operation on rows of `width` stays on one thread.
fn alone(width: usize) -> usize {
    ALONE.div_ceil(width.max(1))
}

/// RMS norm of each row: `x` and `out` are (rows, width), `weight` is (width).
///
/// `out = x / sqrt(mean(x²) + eps) * weight`. Zhang and Sennrich, "Root Mean Square Layer Normalization".
pub fn rms_norm(cpu: &Cpu, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let width = weight.len();
    assert!(x.len() == out.len() && x.len().is_multiple_of(width));
    cpu.threads.chunks(out, width, alone(width), |row, out, _| {
        let x = &x[row * width..][..width];
        raw::rms_norm(cpu.tier, x, weight, eps, out);
    });
}

/// Turns the heads of each row by its position, in place: `x` is (rows, heads, `head_dim`), `cos` and `sin` are
/// (context, half).
///
/// Number `i` of a head turns with number `i + half`, as in Hugging Face checkpoints; numbers from `2 * half` on
/// stay. Su et al., "`RoFormer`", section 3.2.2.
pub fn rope(
    cpu: &Cpu,
    x: &mut [f32],
    positions: &[usize],
    head_dim: usize,
    half: usize,
    cos: &[f32],
    sin: &[f32],
) {
    if positions.is_empty() {
        return;
    }
    let width = x.len() / positions.len();
    assert!(x.len() == width * positions.len() && width.is_multiple_of(head_dim));
    assert!(2 * half <= head_dim && cos.len() == sin.len());
    cpu.threads.chunks(x, width, alone(width), |row, x, _| {
        let at = positions[row] * half;
        let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
        for head in x.chunks_exact_mut(head_dim) {
            raw::rotate(cpu.tier, head, cos, sin);
        }
    });
}

/// `gate = silu(gate) * up`, number by number. Shazeer, "GLU Variants Improve Transformer".
pub fn swiglu(cpu: &Cpu, gate: &mut [f32], up: &[f32]) {
    assert_eq!(gate.len(), up.len());
    let part = ALONE / 4;
    cpu.threads.chunks(gate, part, 2, |index, gate, _| {
        raw::swiglu(cpu.tier, gate, &up[index * part..][..gate.len()]);
    });
}

/// `x += y`, number by number.
pub fn add(cpu: &Cpu, x: &mut [f32], y: &[f32]) {
    assert_eq!(x.len(), y.len());
    cpu.threads.chunks(x, ALONE, 4, |index, x, _| {
        raw::add(cpu.tier, x, &y[index * ALONE..][..x.len()]);
    });
}

/// Turns logits into probabilities, in place.
pub fn softmax(cpu: &Cpu, x: &mut [f32]) {
    let sum = raw::exponentials(cpu.tier, x, 1.0);
    raw::scale(cpu.tier, x, 1.0 / sum);
}

/// Turns `x` into `e^(x * by - m)` and returns the sum; `m` is the largest of `x * by`, `by` is positive. On this thread alone.
pub fn exponentials(tier: Tier, x: &mut [f32], by: f32) -> f32 {
    raw::exponentials(tier, x, by)
}

/// Where the largest number is, the first of equals; none where there is no number. On this thread alone.
pub fn argmax(tier: Tier, x: &[f32]) -> Option<usize> {
    let largest = raw::largest(tier, x);
    let found = x.iter().position(|x| *x >= largest);
    found.filter(|_| largest > f32::NEG_INFINITY)
}
