//! What the device itself gives: its memory while it copies, and its arithmetic while it multiplies.

use std::time::Instant;

use candle_core::{DType, Device as CandleDevice, Result, Tensor};
use pool_core::device::Device;

/// Of which the best counts.
const TRIES: usize = 5;

/// A device, opened a second time: by then the model has found all that it needs.
pub struct Card {
    device: CandleDevice,
    size: Size,
}

/// How much is copied and multiplied: more than caches hold, less than a second.
struct Size {
    /// Of what is copied, in numbers of eight bytes.
    numbers: usize,
    /// Rows and columns of what is multiplied.
    side: usize,
    dtype: DType,
    /// Times in a row, so that starting the first and waiting for the last does not count.
    times: usize,
}

const LARGE: Size = Size {
    numbers: 1 << 27,
    side: 8192,
    dtype: DType::BF16,
    times: 20,
};
const SMALL: Size = Size {
    numbers: 1 << 25,
    side: 1024,
    dtype: DType::F32,
    times: 2,
};

impl Card {
    pub fn open(device: Device) -> Result<Self> {
        Ok(match device {
            Device::Cpu => Self {
                device: CandleDevice::Cpu,
                size: SMALL,
            },
            Device::Cuda(index) => Self {
                device: CandleDevice::new_cuda(index as usize)?,
                size: LARGE,
            },
            Device::Metal(index) => Self {
                device: CandleDevice::new_metal(index as usize)?,
                size: LARGE,
            },
        })
    }

    /// Bytes per second, read and written, of a large copy: into memory that is there, or by the driver, whichever is faster.
    pub fn copy(&self) -> Result<f64> {
        let numbers = self.size.numbers;
        let from = Tensor::ones(numbers, DType::I64, &self.device)?;
        let to = from.zeros_like()?;
        let kernel = self.best(|| to.slice_set(&from, 0, 0))?;
        drop(to);
        let driver = self.best(|| from.copy().map(drop))?;
        let bytes = 2 * numbers * DType::I64.size_in_bytes();
        Ok(bytes as f64 / kernel.min(driver))
    }

    /// Operations per second of a square product: a multiplication and an addition for each pair of numbers.
    pub fn matmul(&self) -> Result<f64> {
        let side = self.size.side;
        let random =
            || Tensor::randn(0_f32, 1.0, (side, side), &self.device)?.to_dtype(self.size.dtype);
        let (left, right) = (random()?, random()?);
        let seconds = self.best(|| left.matmul(&right).map(drop))?;
        Ok(2.0 * (side as f64).powi(3) / seconds)
    }

    /// Seconds that the work takes once: the best of several times, after one that does not count.
    fn best(&self, work: impl Fn() -> Result<()>) -> Result<f64> {
        work()?;
        let mut best = f64::INFINITY;
        for _ in 0..TRIES {
            self.device.synchronize()?;
            let start = Instant::now();
            for _ in 0..self.size.times {
                work()?;
            }
            self.device.synchronize()?;
            best = best.min(start.elapsed().as_secs_f64() / self.size.times as f64);
        }
        Ok(best)
    }
}
