//! Rows put into panels.

use half::{bf16, f16};

use super::activations::Group;
use super::kind::{GROUP, Kind, LANES};
use super::raw::{self, Tier};
use super::source::{Source, scale_and_min};

/// Writes a row of f32 as a lane of a panel.
///
/// 8 bits: the nearest multiple of the largest absolute value over 127; 4 bits: of the number of that largest value
/// over -8, as `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref` in `ggml-quants.c`; 4 bits with a min: of the
/// range over 15.
pub fn put_row(tier: Tier, kind: Kind, panel: &mut [u8], lane: usize, row: &[f32]) {
    match kind {
        Kind::F32 => put_numbers(kind, panel, lane, row.iter().map(|x| x.to_le_bytes())),
        Kind::F16 => {
            let numbers = row.iter().map(|x| f16::from_f32(*x).to_le_bytes());
            put_numbers(kind, panel, lane, numbers);
        }
        Kind::Bf16 => {
            let numbers = row.iter().map(|x| bf16::from_f32(*x).to_le_bytes());
            put_numbers(kind, panel, lane, numbers);
        }
        Kind::Q8 => {
            let mut part = [Group::default(); 16];
            for (index, x) in row.chunks(part.len() * GROUP).enumerate() {
                raw::quantise(tier, x, &mut part);
                for (at, x) in part[..x.len() / GROUP].iter().enumerate() {
                    let group = index * part.len() + at;
                    put_bytes(panel, group, lane, &x.q.map(|q| q.cast_unsigned() ^ 128));
                    put_scale(
                        kind,
                        panel,
                        group,
                        lane,
                        [f16::from_f32(x.scale), f16::ZERO],
                    );
                }
            }
        }
        Kind::Q4 => {
            for (group, x) in row.chunks_exact(GROUP).enumerate() {
                let far = |a: f32, x: &f32| if x.abs() > a.abs() { *x } else { a };
                let scale = x.iter().fold(0.0, far) / -8.0;
                let inverse = inverse(scale);
                let q = std::array::from_fn(|at| ((x[at] * inverse + 8.5) as u8).min(15));
                put_nibbles(kind, panel, group, lane, &q);
                put_scale(kind, panel, group, lane, [f16::from_f32(scale), f16::ZERO]);
            }
        }
        Kind::Q4Min => {
            for (group, x) in row.chunks_exact(GROUP).enumerate() {
                let min = x.iter().fold(f32::INFINITY, |a, x| a.min(*x));
                let scale = (x.iter().fold(f32::NEG_INFINITY, |a, x| a.max(*x)) - min) / 15.0;
                let inverse = inverse(scale);
                let q = std::array::from_fn(|at| (((x[at] - min) * inverse).round() as u8).min(15));
                put_nibbles(kind, panel, group, lane, &q);
                put_scale(kind, panel, group, lane, [scale, min].map(f16::from_f32));
            }
        }
    }
}

/// Moves the bits of a row into a lane of a panel, where source and kind say the same; false where they do not.
pub fn copy_blocks(source: Source, kind: Kind, panel: &mut [u8], lane: usize, row: &[u8]) -> bool {
    match (source, kind) {
        (Source::F32, Kind::F32) => {
            put_numbers::<4>(kind, panel, lane, row.as_chunks().0.iter().copied());
        }
        (Source::F16, Kind::F16) | (Source::Bf16, Kind::Bf16) => {
            put_numbers::<2>(kind, panel, lane, row.as_chunks().0.iter().copied());
        }
        (Source::Q8_0, Kind::Q8) => {
            for (group, block) in row.chunks_exact(34).enumerate() {
                put_bytes(
                    panel,
                    group,
                    lane,
                    &std::array::from_fn(|at| block[2 + at] ^ 128),
                );
                let scale = f16::from_le_bytes([block[0], block[1]]);
                put_scale(kind, panel, group, lane, [scale, f16::ZERO]);
            }
        }
        (Source::Q4_0, Kind::Q4) => {
            for (group, block) in row.chunks_exact(18).enumerate() {
                let q = |at: usize| block[2 + at % 16] >> (at / 16 * 4) & 15;
                put_nibbles(kind, panel, group, lane, &std::array::from_fn(q));
                let scale = f16::from_le_bytes([block[0], block[1]]);
                put_scale(kind, panel, group, lane, [scale, f16::ZERO]);
            }
        }
        (Source::Q4K, Kind::Q4Min) => {
            for group in 0..row.len() / 144 * 8 {
                let block = &row[group / 8 * 144..][..144];
                let low = &block[16 + group % 8 / 2 * 32..];
                let q = |at: usize| low[at] >> (group % 2 * 4) & 15;
                put_nibbles(kind, panel, group, lane, &std::array::from_fn(q));
                let (scale, min) = scale_and_min(block, group % 8);
                put_scale(kind, panel, group, lane, [scale, -min].map(f16::from_f32));
            }
        }
        _ => return false,
    }
    true
}

/// 0 for scales too small to divide by.
fn inverse(scale: f32) -> f32 {
    if scale.abs() >= f32::MIN_POSITIVE {
        1.0 / scale
    } else {
        0.0
    }
}

fn put_numbers<const SIZE: usize>(
    kind: Kind,
    panel: &mut [u8],
    lane: usize,
    numbers: impl Iterator<Item = [u8; SIZE]>,
) {
    for (at, number) in numbers.enumerate() {
        panel[kind.place(at, lane)..][..SIZE].copy_from_slice(&number);
    }
}

fn put_bytes(panel: &mut [u8], group: usize, lane: usize, q: &[u8; GROUP]) {
    let numbers = group * Kind::Q8.group_bytes() + Kind::Q8.scale_bytes();
    for (q, place) in q
        .chunks_exact(4)
        .zip(panel[numbers..].chunks_exact_mut(4 * LANES))
    {
        place[lane * 4..][..4].copy_from_slice(q);
    }
}

fn put_nibbles(kind: Kind, panel: &mut [u8], group: usize, lane: usize, q: &[u8; GROUP]) {
    let numbers = group * kind.group_bytes() + kind.scale_bytes();
    let places = panel[numbers..].chunks_exact_mut(4 * LANES).take(4);
    for (at, place) in places.enumerate() {
        for (i, byte) in place[lane * 4..][..4].iter_mut().enumerate() {
            *byte = q[at * 4 + i] | q[16 + at * 4 + i] << 4;
        }
    }
}

fn put_scale(kind: Kind, panel: &mut [u8], group: usize, lane: usize, scale_and_min: [f16; 2]) {
    let count = kind.scale_bytes() / (LANES * 2);
    for (which, value) in scale_and_min.iter().enumerate().take(count) {
        let at = group * kind.group_bytes() + (which * LANES + lane) * 2;
        panel[at..at + 2].copy_from_slice(&value.to_le_bytes());
    }
}

/// Writes one number, in f32 or f16, at place `index`.
pub fn put_number(kind: Kind, data: &mut [u8], index: usize, x: f32) {
    let at = index * kind.size();
    match kind {
        Kind::F32 => data[at..at + 4].copy_from_slice(&x.to_le_bytes()),
        _ => data[at..at + 2].copy_from_slice(&f16::from_f32(x).to_le_bytes()),
    }
}
