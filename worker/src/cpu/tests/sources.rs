//! Blocks of GGUF against the formulas of `ggml-quants.c`, written out plainly.

use super::{Numbers, bits, held, matrix, processors};
use crate::cpu::kind::Kind;
use crate::cpu::{Matrix, Region, Source};

fn filled(source: Source, kind: Kind, rows: usize, columns: usize, bytes: &[u8]) -> Vec<f32> {
    let cpu = &processors()[0];
    let mut region = Region::new(1 << 20).expect("memory");
    let mut matrix = Matrix::new(&mut region, kind, rows, columns).expect("room");
    matrix.fill(cpu, 0, source, bytes).expect("whole rows");
    held(&matrix)
}

/// Random blocks whose f16 at `scales` are small numbers.
fn blocks(count: usize, size: usize, scales: &[usize]) -> Vec<u8> {
    let mut numbers = Numbers::new(16);
    let mut bytes = numbers.bytes(count * size);
    for block in bytes.chunks_exact_mut(size) {
        for at in scales {
            block[*at..at + 2]
                .copy_from_slice(&half::f16::from_f32(numbers.float() * 0.01).to_le_bytes());
        }
    }
    bytes
}

fn f16(bytes: &[u8]) -> f32 {
    half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

#[test]
fn eight_bits_are_kept_bit_by_bit() {
    let bytes = blocks(20 * 3, 34, &[0]);
    let value = |block: &[u8], at: usize| f32::from(block[2 + at].cast_signed()) * f16(block);
    let wanted: Vec<f32> = bytes
        .chunks(34)
        .flat_map(|block| (0..32).map(move |at| value(block, at)))
        .collect();
    assert_eq!(
        bits(&filled(Source::Q8_0, Kind::Q8, 20, 96, &bytes)),
        bits(&wanted)
    );
    assert_eq!(
        bits(&filled(Source::Q8_0, Kind::F32, 20, 96, &bytes)),
        bits(&wanted)
    );
}

#[test]
fn four_bits_are_kept_bit_by_bit() {
    let bytes = blocks(20 * 3, 18, &[0]);
    let value = |block: &[u8], at: usize| {
        let pair = block[2 + at % 16];
        let q = if at < 16 { pair & 15 } else { pair >> 4 };
        (f32::from(q) - 8.0) * f16(block)
    };
    let wanted: Vec<f32> = bytes
        .chunks(18)
        .flat_map(|block| (0..32).map(move |at| value(block, at)))
        .collect();
    assert_eq!(
        bits(&filled(Source::Q4_0, Kind::Q4, 20, 96, &bytes)),
        bits(&wanted)
    );
    assert_eq!(
        bits(&filled(Source::Q4_0, Kind::F32, 20, 96, &bytes)),
        bits(&wanted)
    );
}

/// `get_scale_min_k4`
fn scale_min(j: usize, q: &[u8]) -> (u8, u8) {
    if j < 4 {
        (q[j] & 63, q[j + 4] & 63)
    } else {
        (
            (q[j + 4] & 0xF) | ((q[j - 4] >> 6) << 4),
            (q[j + 4] >> 4) | ((q[j] >> 6) << 4),
        )
    }
}

/// `dequantize_row_q4_K`, and `_q5_K` where there is a fifth bit.
fn dequantised_4_or_5(block: &[u8], five: bool) -> Vec<f32> {
    let (d, min) = (f16(block), f16(&block[2..]));
    let ql = &block[if five { 48 } else { 16 }..];
    let mut out = Vec::new();
    for j in 0..4 {
        for half in 0..2 {
            let (sc, m) = scale_min(2 * j + half, &block[4..16]);
            for l in 0..32 {
                let q = if half == 0 {
                    ql[32 * j + l] & 15
                } else {
                    ql[32 * j + l] >> 4
                };
                let fifth = if five && block[16 + l] & (1 << (2 * j + half)) != 0 {
                    16
                } else {
                    0
                };
                out.push(d * f32::from(sc) * f32::from(q + fifth) - min * f32::from(m));
            }
        }
    }
    out
}

/// `dequantize_row_q6_K`
fn dequantised_6(block: &[u8]) -> Vec<f32> {
    let d = f16(&block[208..]);
    let mut out = vec![0.0; 256];
    for n in 0..2 {
        let (ql, qh) = (&block[64 * n..], &block[128 + 32 * n..]);
        for l in 0..32 {
            let q = [
                (ql[l] & 15) | ((qh[l] & 3) << 4),
                (ql[l + 32] & 15) | (((qh[l] >> 2) & 3) << 4),
                (ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4),
                (ql[l + 32] >> 4) | (((qh[l] >> 6) & 3) << 4),
            ];
            for (run, q) in q.iter().enumerate() {
                let scale = block[192 + 8 * n + l / 16 + 2 * run].cast_signed();
                out[128 * n + 32 * run + l] = d * f32::from(scale) * (f32::from(*q) - 32.0);
            }
        }
    }
    out
}

#[test]
fn blocks_of_256_are_dequantised_as_ggml_does() {
    let four = blocks(6, 144, &[0, 2]);
    let wanted: Vec<f32> = four
        .chunks(144)
        .flat_map(|block| dequantised_4_or_5(block, false))
        .collect();
    assert_eq!(
        bits(&filled(Source::Q4K, Kind::F32, 3, 512, &four)),
        bits(&wanted)
    );
    let five = blocks(6, 176, &[0, 2]);
    let wanted: Vec<f32> = five
        .chunks(176)
        .flat_map(|block| dequantised_4_or_5(block, true))
        .collect();
    assert_eq!(
        bits(&filled(Source::Q5K, Kind::F32, 3, 512, &five)),
        bits(&wanted)
    );
    let six = blocks(6, 210, &[208]);
    let wanted: Vec<f32> = six.chunks(210).flat_map(dequantised_6).collect();
    assert_eq!(
        bits(&filled(Source::Q6K, Kind::F32, 3, 512, &six)),
        bits(&wanted)
    );
}

#[test]
fn blocks_of_256_are_kept_within_a_small_part_of_their_step() {
    for (source, size, scales, tolerance) in [
        (Source::Q4K, 144, &[0, 2][..], 1e-3),
        (Source::Q5K, 176, &[0, 2], 5e-3),
        (Source::Q6K, 210, &[208], 5e-3),
    ] {
        let bytes = blocks(6, size, scales);
        let wanted = filled(source, Kind::F32, 3, 512, &bytes);
        let got = filled(source, source.kept(), 3, 512, &bytes);
        for (got, wanted) in got.chunks(32).zip(wanted.chunks(32)) {
            let largest = wanted.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
            for (got, wanted) in got.iter().zip(wanted) {
                assert!(
                    (got - wanted).abs() <= tolerance * largest,
                    "{source:?}: {got}, not {wanted}"
                );
            }
        }
    }
}

#[test]
fn floats_are_kept_bit_by_bit_and_quantised_to_the_nearest_step() {
    let mut numbers = Numbers::new(17);
    let x = numbers.floats(17 * 64);
    let cpu = &processors()[0];
    assert_eq!(bits(&held(&matrix(cpu, Kind::F32, 17, 64, &x))), bits(&x));
    for (kind, steps) in [(Kind::Q8, 127.0), (Kind::Q4, 8.0), (Kind::Q4Min, 15.0)] {
        let got = held(&matrix(cpu, kind, 17, 64, &x));
        for (got, x) in got.chunks(32).zip(x.chunks(32)) {
            let largest = x.iter().fold(0.0_f32, |a, x| a.max(x.abs()));
            for (got, x) in got.iter().zip(x) {
                // The far end of 4 bits has no step of its own, so it may be off by a whole one.
                assert!(
                    (got - x).abs() <= 1.05 * largest / steps,
                    "{kind:?}: {got}, not {x}"
                );
            }
        }
    }
    for (source, bytes) in [
        (
            Source::F16,
            x.iter()
                .flat_map(|x| half::f16::from_f32(*x).to_le_bytes())
                .collect::<Vec<_>>(),
        ),
        (
            Source::Bf16,
            x.iter()
                .flat_map(|x| half::bf16::from_f32(*x).to_le_bytes())
                .collect(),
        ),
    ] {
        let exact = filled(source, Kind::F32, 17, 64, &bytes);
        assert_eq!(
            bits(&filled(source, source.kept(), 17, 64, &bytes)),
            bits(&exact)
        );
    }
}
