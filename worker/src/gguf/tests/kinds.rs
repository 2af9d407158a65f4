//! Each kind against its formula, one value at a time: the index arithmetic of gguf-py's `quants.py`, not of the reader.

use half::{bf16, f16};

use super::noise;
use crate::gguf::Kind;
use crate::gguf::dequantise::dequantise;

const KINDS: [Kind; 8] = [
    Kind::F32,
    Kind::F16,
    Kind::BF16,
    Kind::Q8_0,
    Kind::Q4_0,
    Kind::Q4K,
    Kind::Q5K,
    Kind::Q6K,
];

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Value `i` of a block.
fn value(kind: Kind, block: &[u8], i: usize) -> f32 {
    match kind {
        Kind::F32 => f32::from_le_bytes(block.try_into().unwrap()),
        Kind::F16 => half(block, 0),
        Kind::BF16 => bf16::from_le_bytes(block.try_into().unwrap()).to_f32(),
        Kind::Q8_0 => half(block, 0) * f32::from(block[2 + i].cast_signed()),
        Kind::Q4_0 => {
            let q = block[2 + i % 16] >> (4 * (i / 16)) & 15;
            half(block, 0) * f32::from(i16::from(q) - 8)
        }
        Kind::Q4K => {
            let q = block[16 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            with_scale_and_min(block, i, q)
        }
        Kind::Q5K => {
            let low = block[48 + i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15;
            let high = block[16 + i % 32] >> (i / 32) & 1;
            with_scale_and_min(block, i, low | high << 4)
        }
        Kind::Q6K => {
            let low = block[i / 128 * 64 + i % 64] >> (i % 128 / 64 * 4) & 15;
            let high = block[128 + i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3;
            let scale = f32::from(block[192 + i / 16].cast_signed());
            half(block, 208) * scale * f32::from(i16::from(low | high << 4) - 32)
        }
    }
}

fn with_scale_and_min(block: &[u8], i: usize, q: u8) -> f32 {
    let [first, second, third] = [4, 8, 12].map(|at| &block[at..at + 4]);
    let j = i / 32;
    let (scale, min) = if j < 4 {
        (first[j] & 0x3f, second[j] & 0x3f)
    } else {
        let scale = third[j - 4] & 0x0f | first[j - 4] >> 2 & 0x30;
        (scale, third[j - 4] >> 4 | second[j - 4] >> 2 & 0x30)
    };
    half(block, 0) * f32::from(scale) * f32::from(q) - half(block, 2) * f32::from(min)
}

#[test]
fn every_value_of_every_kind_is_the_one_of_its_formula() {
    let mut noise = noise(7);
    for kind in KINDS {
        for _ in 0..200 {
            let blocks: Vec<u8> = (0..3 * kind.block_bytes()).map(|_| noise() as u8).collect();
            let mut values = vec![0.0; 3 * kind.block_len()];
            dequantise(kind, &blocks, &mut values);
            for (at, found) in values.into_iter().enumerate() {
                let block =
                    &blocks[at / kind.block_len() * kind.block_bytes()..][..kind.block_bytes()];
                let expected = value(kind, block, at % kind.block_len());
                // Random scales may be infinite or no number.
                assert!(
                    found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                    "{} {at}: {found} {expected}",
                    kind.name()
                );
            }
        }
    }
}

#[test]
fn what_is_left_over_stays_as_it_is() {
    let mut values = [7.0; 40];
    dequantise(Kind::Q8_0, &[0; 34 + 5], &mut values);
    assert_eq!(values[..32], [0.0; 32]);
    assert_eq!(values[32..], [7.0; 8]);
}
