//! The twins of the vector kernels, in plain Rust. They define the sums: every tier gives these bits.
//!
//! A panel holds [`LANES`] rows of weights, interleaved so that the lanes of a vector are rows: no sum ever crosses
//! lanes, and the order of a row's sum is the same whatever the tier and however many inputs there are.

use half::{bf16, f16};

use super::activations::Group;
use super::kind::{CHAIN, GROUP, Kind, LANES};

pub type Lanes = [f32; LANES];

/// Sums over `k` of `panel[k][lane] * x[row + k]`, for each of `rows` (offsets into `x`): groups of 32 by a chain of
/// fused multiply-adds, then the groups in order.
pub fn floats(kind: Kind, panel: &[u8], k: usize, x: &[f32], rows: &[usize], out: &mut [Lanes]) {
    let size = kind.size();
    for (row, out) in rows.iter().zip(out) {
        let x = &x[*row..row + k];
        *out = [0.0; LANES];
        for (x, weights) in x.chunks(GROUP).zip(panel.chunks(size * LANES * GROUP)) {
            let mut sum = [0.0; LANES];
            for (x, weights) in x.iter().zip(weights.chunks_exact(size * LANES)) {
                for (sum, weight) in sum.iter_mut().zip(weights.chunks_exact(size)) {
                    *sum = decode(kind, weight).mul_add(*x, *sum);
                }
            }
            for (total, sum) in out.iter_mut().zip(sum) {
                *total += sum;
            }
        }
    }
}

/// As [`floats`], for weights and inputs in bf16 by twos: the second product of a pair is added before the first, as
/// `VDPBF16PS` has it (Intel SDM, volume 2), in chains of [`CHAIN`]. That instruction takes numbers below 2^-126 for 0, which nothing else does.
pub fn pairs(panel: &[u8], k: usize, x: &[u32], rows: &[usize], out: &mut [Lanes]) {
    for (row, out) in rows.iter().zip(out) {
        let x = &x[*row..row + k];
        *out = [0.0; LANES];
        for (x, weights) in x.chunks(CHAIN).zip(panel.chunks(4 * LANES * CHAIN)) {
            let mut sum = [0.0; LANES];
            for (x, weights) in x.iter().zip(weights.chunks_exact(4 * LANES)) {
                let [first_x, second_x] = split(*x);
                for (sum, weight) in sum.iter_mut().zip(weights.as_chunks().0) {
                    let [first, second] = split(u32::from_le_bytes(*weight));
                    *sum = first.mul_add(first_x, second.mul_add(second_x, *sum));
                }
            }
            for (total, sum) in out.iter_mut().zip(sum) {
                *total += sum;
            }
        }
    }
}

/// The two numbers of a pair.
fn split(pair: u32) -> [f32; 2] {
    [pair << 16, pair & 0xffff_0000].map(f32::from_bits)
}

/// One number from its little-endian bytes.
pub fn decode(kind: Kind, bytes: &[u8]) -> f32 {
    match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
        [a, b] if kind == Kind::F16 => f16::from_le_bytes([a, b]).to_f32(),
        [a, b] => bf16::from_le_bytes([a, b]).to_f32(),
        _ => unreachable!("{kind:?} of {} bytes", bytes.len()),
    }
}

/// As [`floats`], for the kinds of a group. The products of a group are summed as integers, exactly.
pub fn integers(
    kind: Kind,
    panel: &[u8],
    groups: usize,
    x: &[Group],
    rows: &[usize],
    out: &mut [Lanes],
) {
    for (row, out) in rows.iter().zip(out) {
        *out = [0.0; LANES];
        for (index, x) in x[*row..row + groups].iter().enumerate() {
            for (lane, total) in out.iter_mut().enumerate() {
                let numbers = (0..GROUP).map(|at| quant(kind, panel, index, lane, at));
                let products = numbers.zip(x.q).map(|(q, x)| q * i32::from(x));
                let (scale, min) = scale_and_min(kind, panel, index, lane);
                *total = (products.sum::<i32>() as f32).mul_add(scale * x.scale, *total);
                if let Some(min) = min {
                    *total = min.mul_add(x.scale * x.sum as f32, *total);
                }
            }
        }
    }
}

/// The integer of a lane at place `at` of a group, its offset taken off.
pub fn quant(kind: Kind, panel: &[u8], group: usize, lane: usize, at: usize) -> i32 {
    let numbers = group * kind.group_bytes() + kind.scale_bytes();
    let place = |at: usize| numbers + at / 4 * 4 * LANES + lane * 4 + at % 4;
    if kind == Kind::Q8 {
        return i32::from(panel[place(at)]) - 128;
    }
    let pair = panel[place(at % 16)];
    let q = i32::from(if at < 16 { pair & 15 } else { pair >> 4 });
    if kind == Kind::Q4 { q - 8 } else { q }
}

/// The scale of a lane in a group, and its min if the kind has one.
pub fn scale_and_min(kind: Kind, panel: &[u8], group: usize, lane: usize) -> (f32, Option<f32>) {
    let read = |at: usize| f16::from_le_bytes([panel[at], panel[at + 1]]).to_f32();
    let at = group * kind.group_bytes() + lane * 2;
    (
        read(at),
        (kind == Kind::Q4Min).then(|| read(at + LANES * 2)),
    )
}
