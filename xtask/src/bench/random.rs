//! Random weights, the same every time.

use std::io::Write;

/// Standard deviation of weights.
const DEVIATION: f64 = 0.02;
/// Numbers drawn once, of which every weight is one.
const DRAWN: usize = 1 << 16;

/// Writes normally distributed weights in bf16.
///
/// A weight is one of 65,536 drawn beforehand, so two bytes of randomness make a weight.
pub struct Weights {
    state: u64,
    drawn: Vec<[u8; 2]>,
    buffer: Vec<u8>,
}

impl Weights {
    pub fn new(seed: u64) -> Self {
        let mut weights = Self {
            state: seed,
            drawn: Vec::with_capacity(DRAWN),
            buffer: Vec::new(),
        };
        while weights.drawn.len() < DRAWN {
            let number = weights.normal() * DEVIATION;
            weights.drawn.push(bf16(number as f32));
        }
        weights
    }

    /// Writes the next `count` weights.
    pub fn write(&mut self, count: usize, file: &mut impl Write) -> std::io::Result<()> {
        const AT_ONCE: usize = 1 << 18;
        let mut left = count;
        while left > 0 {
            let now = left.min(AT_ONCE);
            self.buffer.clear();
            while self.buffer.len() < now * 2 {
                let bits = self.next();
                for shift in [0, 16, 32, 48] {
                    let weight = self.drawn[(bits >> shift) as usize % DRAWN];
                    self.buffer.extend_from_slice(&weight);
                }
            }
            file.write_all(&self.buffer[..now * 2])?;
            left -= now;
        }
        Ok(())
    }

    /// Box and Muller: two even numbers to a normal one.
    fn normal(&mut self) -> f64 {
        let mut even = || ((self.next() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let (radius, angle) = (even(), even());
        (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
    }

    /// `SplitMix64`.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The upper half of an f32, rounded to the nearest, ties to even.
pub fn bf16(number: f32) -> [u8; 2] {
    let bits = number.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
    ((rounded >> 16) as u16).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Vec<f64> {
        let number = |pair: &[u8]| {
            let bits = u32::from(u16::from_le_bytes([pair[0], pair[1]])) << 16;
            f64::from(f32::from_bits(bits))
        };
        bytes.chunks(2).map(number).collect()
    }

    #[test]
    fn weights_are_normal_and_the_same_every_time() {
        let draw = |seed| {
            let mut bytes = Vec::new();
            Weights::new(seed).write(300_001, &mut bytes).unwrap();
            bytes
        };
        let bytes = draw(1);
        assert_eq!(bytes, draw(1));
        assert_ne!(bytes, draw(2));
        let numbers = read(&bytes);
        assert_eq!(numbers.len(), 300_001);
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let variance = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let inside = numbers.iter().filter(|x| x.abs() < DEVIATION).count() as f64 / count;
        assert!(mean.abs() < 2e-4, "{mean}");
        assert!(
            (variance.sqrt() / DEVIATION - 1.0).abs() < 0.02,
            "{variance}"
        );
        assert!((inside - 0.6827).abs() < 0.01, "{inside}");
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_to_even() {
        for (number, bits) in [
            (1.0, 0x3f80_u16),
            (-2.0, 0xc000),
            (f32::from_bits(0x3f80_8000), 0x3f80),
            (f32::from_bits(0x3f81_8000), 0x3f82),
            (f32::from_bits(0x3f80_8001), 0x3f81),
        ] {
            assert_eq!(bf16(number), bits.to_le_bytes(), "{number}");
        }
    }
}
