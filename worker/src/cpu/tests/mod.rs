//! Kernels against their twins, operations against plain sums in f64.

mod attention;
mod kernels;
mod linear;
mod ops;
mod sources;
mod threads;

use super::kind::Kind;
use super::{Cpu, Matrix, Region, Source, Tier};

/// Numbers that look random and are the same each time (Steele et al., `SplitMix64`).
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// In -1..1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.float()).collect()
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}

/// One processor for each tier of this machine, with two threads.
pub fn processors() -> Vec<Cpu> {
    let with = |tier| Cpu::with_tier(2, tier).expect("two threads");
    Tier::available().into_iter().map(with).collect()
}

pub fn little_endian(x: &[f32]) -> Vec<u8> {
    x.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// A matrix filled from f32.
pub fn matrix(cpu: &Cpu, kind: Kind, rows: usize, columns: usize, x: &[f32]) -> Matrix {
    let bytes = Matrix::bytes_of(kind, rows, columns).expect("a size");
    let mut region = Region::new(bytes + 64).expect("memory");
    let mut matrix = Matrix::new(&mut region, kind, rows, columns).expect("room");
    matrix
        .fill(cpu, 0, Source::F32, &little_endian(x))
        .expect("whole rows");
    matrix
}

/// What a matrix holds, as f32.
pub fn held(matrix: &Matrix) -> Vec<f32> {
    let mut all = vec![0.0; matrix.rows() * matrix.columns()];
    for (at, row) in all.chunks_exact_mut(matrix.columns()).enumerate() {
        matrix.row(at, row);
    }
    all
}

pub fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// Whether numbers are within `tolerance`, relative to the largest.
#[track_caller]
pub fn assert_close(got: &[f32], wanted: &[f64], tolerance: f64) {
    assert_eq!(got.len(), wanted.len());
    let largest = wanted.iter().fold(0.0_f64, |a, x| a.max(x.abs()));
    for (at, (got, wanted)) in got.iter().zip(wanted).enumerate() {
        let error = (f64::from(*got) - wanted).abs();
        assert!(
            error <= tolerance * largest.max(1e-30),
            "number {at}: {got}, not {wanted}"
        );
    }
}
