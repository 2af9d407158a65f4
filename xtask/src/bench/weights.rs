//! How weights are kept while they are measured.

use super::shape::Shape;

/// The kinds of weights that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    Q8_0,
    Bf16,
}

impl Kept {
    pub const ALL: [Self; 2] = [Self::Q8_0, Self::Bf16];

    pub fn name(self) -> &'static str {
        match self {
            Self::Q8_0 => "q8_0",
            Self::Bf16 => "bf16",
        }
    }

    /// Bytes of weights that one token reads. A group of 32 numbers has 34 bytes in `q8_0`.
    pub fn bytes_per_token(self, shape: &Shape) -> f64 {
        let numbers = shape.numbers_per_token() as f64;
        match self {
            Self::Q8_0 => numbers / 32.0 * 34.0,
            Self::Bf16 => numbers * 2.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape::QWEN;

    #[test]
    fn eight_bits_are_little_more_than_half_of_sixteen() {
        let ratio = Kept::Q8_0.bytes_per_token(&QWEN) / Kept::Bf16.bytes_per_token(&QWEN);
        assert!((ratio - 17.0 / 32.0).abs() < 1e-9, "{ratio}");
    }
}
