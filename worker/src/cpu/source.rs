//! Numbers as files hold them.
//!
//! safetensors holds the first three, GGUF all; its blocks are those of `ggml-common.h`, dequantised as in
//! `ggml-quants.c` (<https://github.com/ggml-org/ggml>). Everything is little-endian.

use half::{bf16, f16};

use super::{Error, Kind};

/// How a file holds the rows of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    F32,
    F16,
    Bf16,
    Q8_0,
    Q4_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Source {
    /// The kind that keeps it best: `Q8_0`, `Q4_0` and floats bit by bit, `Q4_K` with scales rounded to f16. `Q5_K`
    /// and `Q6_K` are quantised again to 8 bits, whose step is a small part of theirs.
    pub fn kept(self) -> Kind {
        match self {
            Self::F32 => Kind::F32,
            Self::F16 => Kind::F16,
            Self::Bf16 => Kind::Bf16,
            Self::Q8_0 | Self::Q5K | Self::Q6K => Kind::Q8,
            Self::Q4_0 => Kind::Q4,
            Self::Q4K => Kind::Q4Min,
        }
    }

    /// Numbers and bytes of a block.
    fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
            Self::Q4_0 => (32, 18),
            Self::Q4K => (256, 144),
            Self::Q5K => (256, 176),
            Self::Q6K => (256, 210),
        }
    }

    /// Bytes of a row of `columns` numbers.
    ///
    /// # Errors
    /// When they are not whole blocks.
    pub fn row_bytes(self, columns: usize) -> Result<usize, Error> {
        let (block, bytes) = self.block();
        let wrong = Error::Blocks {
            source_kind: self,
            columns,
            block,
        };
        if !columns.is_multiple_of(block) {
            return Err(wrong);
        }
        (columns / block).checked_mul(bytes).ok_or(wrong)
    }

    /// A row as f32. `bytes` has the length that `row_bytes` says for that of `out`.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            Self::F32 => numbers(bytes, out, f32::from_le_bytes),
            Self::F16 => numbers(bytes, out, |x| f16::from_le_bytes(x).to_f32()),
            Self::Bf16 => numbers(bytes, out, |x| bf16::from_le_bytes(x).to_f32()),
            _ => self.decode_blocks(bytes, out),
        }
    }

    fn decode_blocks(self, bytes: &[u8], out: &mut [f32]) {
        let (count, size) = self.block();
        for (bytes, out) in bytes.chunks_exact(size).zip(out.chunks_exact_mut(count)) {
            match self {
                Self::Q8_0 => {
                    for (out, q) in out.iter_mut().zip(&bytes[2..]) {
                        *out = f32::from(q.cast_signed()) * half(bytes);
                    }
                }
                Self::Q4_0 => {
                    let (low, high) = out.split_at_mut(16);
                    for ((low, high), q) in low.iter_mut().zip(high).zip(&bytes[2..]) {
                        *low = (f32::from(q & 15) - 8.0) * half(bytes);
                        *high = (f32::from(q >> 4) - 8.0) * half(bytes);
                    }
                }
                Self::Q4K => {
                    for (group, out) in out.chunks_exact_mut(32).enumerate() {
                        let (scale, min) = scale_and_min(bytes, group);
                        for (out, q) in out.iter_mut().zip(&bytes[16 + group / 2 * 32..]) {
                            *out = f32::from(q >> (group % 2 * 4) & 15) * scale - min;
                        }
                    }
                }
                Self::Q5K => {
                    for (group, out) in out.chunks_exact_mut(32).enumerate() {
                        let (scale, min) = scale_and_min(bytes, group);
                        let low = &bytes[48 + group / 2 * 32..];
                        for ((out, q), high) in out.iter_mut().zip(low).zip(&bytes[16..48]) {
                            let q = q >> (group % 2 * 4) & 15 | (high >> group & 1) << 4;
                            *out = f32::from(q) * scale - min;
                        }
                    }
                }
                Self::Q6K => six_bits(bytes, out),
                Self::F32 | Self::F16 | Self::Bf16 => unreachable!("not a block"),
            }
        }
    }
}

/// Numbers of `SIZE` bytes each.
fn numbers<const SIZE: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; SIZE]) -> f32) {
    for (out, bytes) in out.iter_mut().zip(bytes.as_chunks().0) {
        *out = read(*bytes);
    }
}

/// An f16 at the front of `bytes`.
pub(super) fn half(bytes: &[u8]) -> f32 {
    f16::from_le_bytes([bytes[0], bytes[1]]).to_f32()
}

/// Scale and min of one of the 8 groups of a `Q4_K` or `Q5_K` block: 6 bits each, packed in the 12 bytes after two
/// f16 that they multiply.
pub(super) fn scale_and_min(block: &[u8], group: usize) -> (f32, f32) {
    let packed = &block[4..16];
    let (scale, min) = if group < 4 {
        (packed[group] & 63, packed[group + 4] & 63)
    } else {
        let high = |at: usize| packed[at] >> 6 << 4;
        (
            packed[group + 4] & 15 | high(group - 4),
            packed[group + 4] >> 4 | high(group),
        )
    };
    (
        half(block) * f32::from(scale),
        half(&block[2..]) * f32::from(min),
    )
}

/// `Q6_K`: 128 bytes of low halves, 64 of high pairs of bits, 16 signed scales of 16 numbers each, and the f16 of all.
fn six_bits(block: &[u8], out: &mut [f32]) {
    let all = half(&block[208..]);
    for (at, out) in out.iter_mut().enumerate() {
        // Each half of 128 numbers: four runs of 32 that share bytes.
        let (part, run, l) = (at / 128, at % 128 / 32, at % 32);
        let low = block[part * 64 + run % 2 * 32 + l] >> (run / 2 * 4) & 15;
        let high = block[128 + part * 32 + l] >> (run * 2) & 3;
        let scale = f32::from(block[192 + at / 16].cast_signed());
        *out = all * scale * (f32::from(low | high << 4) - 32.0);
    }
}
