//! Blocks to f32.
//!
//! Source: `ggml-common.h` for the layouts, `dequantize_row_*` in `ggml-quants.c` for the order of the operations, which
//! is kept: every value is the same f32 as there.

use half::{bf16, f16};

use super::Kind;

/// Writes the values of whole blocks. `out` has [`Kind::block_len`] values for each [`Kind::block_bytes`] of `blocks`;
/// what is left over on either side stays as it is.
pub fn dequantise(kind: Kind, blocks: &[u8], out: &mut [f32]) {
    let block = match kind {
        Kind::F32 => |block: &[u8], out: &mut [f32]| out[0] = f32::from_bits(le(block)),
        Kind::F16 => |block: &[u8], out: &mut [f32]| out[0] = half(block),
        Kind::BF16 => |block: &[u8], out: &mut [f32]| {
            out[0] = bf16::from_bits(le(block) as u16).to_f32();
        },
        Kind::Q8_0 => q8_0,
        Kind::Q4_0 => q4_0,
        Kind::Q4K => |block: &[u8], out: &mut [f32]| {
            let (scales, quants) = block.split_at(16);
            q4k_or_q5k(scales, None, quants, out);
        },
        Kind::Q5K => |block: &[u8], out: &mut [f32]| {
            let (scales, rest) = block.split_at(16);
            let (fifth_bits, quants) = rest.split_at(32);
            q4k_or_q5k(scales, Some(fifth_bits), quants, out);
        },
        Kind::Q6K => q6k,
    };
    let blocks = blocks.chunks_exact(kind.block_bytes());
    for (bytes, values) in blocks.zip(out.chunks_exact_mut(kind.block_len())) {
        block(bytes, values);
    }
}

/// Little-endian bytes, at most four.
fn le(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

fn half(bytes: &[u8]) -> f32 {
    f16::from_bits(le(bytes) as u16).to_f32()
}

/// `d: f16, q: [i8; 32]`; `x = q d`.
fn q8_0(block: &[u8], out: &mut [f32]) {
    let (d, quants) = block.split_at(2);
    let d = half(d);
    for (x, &q) in out.iter_mut().zip(quants) {
        *x = f32::from(q.cast_signed()) * d;
    }
}

/// `d: f16, q: [u8; 16]`, the low halves of the bytes are the first 16 values; `x = (q - 8) d`.
fn q4_0(block: &[u8], out: &mut [f32]) {
    let (d, quants) = block.split_at(2);
    let d = half(d);
    let (low, high) = out.split_at_mut(16);
    for ((low, high), &q) in low.iter_mut().zip(high).zip(quants) {
        *low = (f32::from(q & 15) - 8.0) * d;
        *high = (f32::from(q >> 4) - 8.0) * d;
    }
}

/// `scales` is `d: f16, dmin: f16` and eight pairs of 6-bit scale and minimum; then 32 bytes of fifth bits, in `Q5_K` only;
/// then `q: [u8; 128]`, of which each 32 bytes hold two runs of 32 values. `x = (d scale) q - (dmin min)`.
fn q4k_or_q5k(scales: &[u8], fifth_bits: Option<&[u8]>, quants: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half(&scales[..2]), half(&scales[2..4]));
    for (run, out) in out.chunks_exact_mut(32).enumerate() {
        let (scale, min) = scale_and_min(&scales[4..], run);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        let quants = &quants[run / 2 * 32..][..32];
        for (i, (x, &q)) in out.iter_mut().zip(quants).enumerate() {
            let low = if run % 2 == 0 { q & 15 } else { q >> 4 };
            let fifth = fifth_bits.map_or(0, |bits| (bits[i] >> run & 1) << 4);
            *x = scale * f32::from(low | fifth) - min;
        }
    }
}

/// `get_scale_min_k4`: the first four pairs are the low 6 bits of bytes 0–3 and 4–7; the other four have their low halves
/// in bytes 8–11 and their two high bits on top of the first four.
fn scale_and_min(packed: &[u8], run: usize) -> (u8, u8) {
    if run < 4 {
        return (packed[run] & 63, packed[run + 4] & 63);
    }
    let low = packed[run + 4];
    let scale = low & 15 | packed[run - 4] >> 6 << 4;
    let min = low >> 4 | packed[run] >> 6 << 4;
    (scale, min)
}

/// `low: [u8; 128], high: [u8; 64], scale: [i8; 16], d: f16`. Each half of the block takes 64 bytes of low halves and 32
/// bytes of high bits, in four runs of 32 values; a scale serves 16 values. `x = (d scale) (q - 32)`.
fn q6k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let (scales, d) = rest.split_at(16);
    let d = half(d);
    for (run, out) in out.chunks_exact_mut(32).enumerate() {
        let (part, run) = (run / 4, run % 4);
        let low = &low[64 * part + 32 * (run % 2)..][..32];
        let high = &high[32 * part..][..32];
        let scales = &scales[8 * part + 2 * run..][..2];
        for (i, x) in out.iter_mut().enumerate() {
            let q = low[i] >> (4 * (run / 2)) & 15 | (high[i] >> (2 * run) & 3) << 4;
            *x = d * f32::from(scales[i / 16].cast_signed()) * (f32::from(q) - 32.0);
        }
    }
}
