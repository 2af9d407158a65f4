//! What the memory gives when all threads read it.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Context as _;
use worker::cpu::{Block, Region, Threads};

/// More than any cache holds.
const BYTES: usize = 1 << 30;
/// Of which the best counts.
const TRIES: usize = 5;
/// Numbers that are added at a time, each to its own sum.
const LANES: usize = 16;

/// Memory to read, and the threads that read it.
pub struct Bandwidth {
    threads: Threads,
    block: Block,
}

impl Bandwidth {
    pub fn new(threads: usize) -> anyhow::Result<Self> {
        let threads = Threads::new(threads)?;
        let mut block = Region::new(BYTES)?
            .take(BYTES)
            .context("the region is too small")?;
        // Memory that was never written is all one page.
        block.fill(1);
        Ok(Self { threads, block })
    }

    /// Bytes per second.
    pub fn measure(&self) -> f64 {
        let part = BYTES / self.threads.count();
        let mut best = f64::INFINITY;
        for _ in 0..TRIES {
            let start = Instant::now();
            self.threads.run(|index| {
                black_box(sum(&self.block[index * part..(index + 1) * part]));
            });
            best = best.min(start.elapsed().as_secs_f64());
        }
        (part * self.threads.count()) as f64 / best
    }
}

/// The compiler makes vectors of the lanes.
fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [0_u64; LANES];
    for line in bytes.chunks_exact(LANES * 8) {
        for (sum, number) in sums.iter_mut().zip(line.chunks_exact(8)) {
            let number = number.try_into().map_or(0, u64::from_ne_bytes);
            *sum = sum.wrapping_add(number);
        }
    }
    sums.into_iter().fold(0, u64::wrapping_add)
}
