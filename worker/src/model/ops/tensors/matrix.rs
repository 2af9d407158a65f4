//! Weights on a device: as numbers, or in the blocks of GGUF.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module as _, Result, Tensor};
use pool_core::weights::{Dtype, Quantization};

use crate::cpu::Source;
use crate::model::options::Keep;
use crate::model::weights::MatrixAt;

/// A matrix, (out, in): some rows of what lies on the device as one, so that several can be multiplied at once.
pub struct Matrix {
    whole: Arc<Whole>,
    rows: Range<usize>,
}

/// Matrices that the same rows are multiplied with, one below the other.
pub enum Whole {
    Numbers(Tensor),
    Blocks { matrix: QMatMul, bytes: u64 },
}

/// The rows that products take.
pub struct Input<'a> {
    x: &'a Tensor,
    /// The same as what blocks are multiplied with.
    wide: Option<Tensor>,
    /// The last product, for the next part of the same whole.
    last: Option<(&'a Arc<Whole>, Tensor)>,
}

impl<'a> Input<'a> {
    pub fn new(x: &'a Tensor) -> Self {
        Self {
            x,
            wide: None,
            last: None,
        }
    }

    /// `x · matrixᵀ`, (rows, out).
    pub fn product(&mut self, matrix: &'a Matrix) -> Result<Tensor> {
        let Matrix { whole, rows } = matrix;
        // A row of a product of several lies together; of many rows, what follows takes them better each from its own product.
        if let Whole::Numbers(numbers) = &**whole
            && self.x.dim(0)? > 1
        {
            let part = numbers.narrow(0, rows.start, rows.len())?;
            return self.x.matmul(&part.t()?);
        }
        let product = match &self.last {
            Some((of, product)) if Arc::ptr_eq(of, whole) => product.clone(),
            _ => self.whole(whole)?,
        };
        let part = product.narrow(1, rows.start, rows.len())?;
        self.last = Some((whole, product));
        Ok(part)
    }

    fn whole(&mut self, whole: &Whole) -> Result<Tensor> {
        match whole {
            Whole::Numbers(numbers) => self.x.matmul(&numbers.t()?),
            Whole::Blocks { matrix, .. } => {
                if self.wide.is_none() {
                    self.wide = Some(self.x.to_dtype(DType::F32)?);
                }
                let x = self.wide.as_ref().unwrap_or(self.x);
                matrix.forward(x)?.to_dtype(self.x.dtype())
            }
        }
    }
}

impl Whole {
    /// Puts what a file holds onto a device: in blocks, as they are or made on the way, or else as `dtype`.
    pub fn load(
        source: Source,
        bytes: &[u8],
        size: (usize, usize),
        kind: Option<GgmlDType>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        match kind {
            Some(blocks) if blocks_in(source) == kind => {
                let storage = QStorage::from_data(Cow::Borrowed(bytes), device, blocks)?;
                Self::of(QTensor::new(storage, size)?)
            }
            None if numbers_in(source) == Some(dtype) => {
                let size = [size.0, size.1];
                Tensor::from_raw_buffer(bytes, dtype, &size, device).map(Self::Numbers)
            }
            _ => Self::place(&decode(source, bytes, size)?, kind, dtype, device),
        }
    }

    /// Puts numbers that are on the CPU onto a device: in blocks, or else as `dtype`.
    pub fn place(
        numbers: &Tensor,
        kind: Option<GgmlDType>,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        match kind {
            Some(kind) => {
                // By way of the bytes: only so is what kernels read behind them zero.
                let blocks = QTensor::quantize(numbers, kind)?;
                let storage = QStorage::from_data(blocks.data()?, device, kind)?;
                Self::of(QTensor::new(storage, numbers.shape())?)
            }
            None => Ok(Self::Numbers(numbers.to_dtype(dtype)?.to_device(device)?)),
        }
    }

    fn of(tensor: QTensor) -> Result<Self> {
        let bytes = tensor.storage_size_in_bytes() as u64;
        let matrix = QMatMul::from_qtensor(tensor)?;
        Ok(Self::Blocks { matrix, bytes })
    }

    pub fn bytes(&self) -> u64 {
        match self {
            Self::Numbers(numbers) => {
                (numbers.elem_count() * numbers.dtype().size_in_bytes()) as u64
            }
            Self::Blocks { bytes, .. } => *bytes,
        }
    }

    /// The matrices that it is, by how many rows each has.
    pub fn parts(self, rows: impl Iterator<Item = usize>) -> impl Iterator<Item = Matrix> {
        let whole = Arc::new(self);
        let mut end = 0;
        rows.map(move |rows| {
            let start = end;
            end += rows;
            Matrix {
                whole: Arc::clone(&whole),
                rows: start..end,
            }
        })
    }
}

impl Matrix {
    /// Some rows of one that is alone.
    pub fn rows(&self, rows: &Tensor) -> Result<Tensor> {
        match &*self.whole {
            Whole::Numbers(numbers) => numbers.index_select(rows, 0),
            Whole::Blocks { .. } => candle_core::bail!("rows of blocks are never looked up"),
        }
    }
}

/// The blocks that a matrix is kept in, which its file holds as `source`; none when it is numbers.
pub fn kind(keep: Keep, source: Source, at: &MatrixAt) -> Option<GgmlDType> {
    match (keep.quantize, keep.dtype) {
        // Its rows are looked up.
        _ if at.is_vocabulary => None,
        (Some(Quantization::Q8_0), _) => Some(GgmlDType::Q8_0),
        (Some(Quantization::Q4), _) => Some(GgmlDType::Q4_0),
        (None, Dtype::Auto) => blocks_in(source),
        (None, _) => None,
    }
}

/// The blocks of a file, if it has blocks.
fn blocks_in(source: Source) -> Option<GgmlDType> {
    match source {
        Source::F32 | Source::F16 | Source::Bf16 => None,
        Source::Q8_0 => Some(GgmlDType::Q8_0),
        Source::Q4_0 => Some(GgmlDType::Q4_0),
        Source::Q4K => Some(GgmlDType::Q4K),
        Source::Q5K => Some(GgmlDType::Q5K),
        Source::Q6K => Some(GgmlDType::Q6K),
    }
}

/// The numbers of a file, if it has no blocks.
fn numbers_in(source: Source) -> Option<DType> {
    match source {
        Source::F32 => Some(DType::F32),
        Source::F16 => Some(DType::F16),
        Source::Bf16 => Some(DType::BF16),
        _ => None,
    }
}

/// The numbers of a matrix of a file, on the CPU.
fn decode(source: Source, bytes: &[u8], size: (usize, usize)) -> Result<Tensor> {
    let mut values = vec![0.0; size.0 * size.1];
    source.decode(bytes, &mut values);
    Tensor::from_vec(values, size, &Device::Cpu)
}
