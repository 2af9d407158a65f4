//! Weights on a device: as numbers, or in the blocks of GGUF.

use std::borrow::Cow;
use std::cell::OnceCell;

use candle_core::quantized::{GgmlDType, QMatMul, QStorage, QTensor};
use candle_core::{DType, Device, Module as _, Result, Tensor};
use pool_core::weights::{Dtype, Quantization};

use crate::cpu::Source;
use crate::model::options::Keep;
use crate::model::weights::MatrixAt;

/// A matrix, (out, in).
pub enum Matrix {
    Numbers(Tensor),
    Blocks { matrix: QMatMul, bytes: u64 },
}

/// The rows that products take, also as the numbers that blocks are multiplied with.
pub struct Input<'a> {
    x: &'a Tensor,
    wide: OnceCell<Tensor>,
}

impl<'a> Input<'a> {
    pub fn new(x: &'a Tensor) -> Self {
        let wide = OnceCell::new();
        Self { x, wide }
    }

    fn wide(&self) -> Result<&Tensor> {
        if self.wide.get().is_none() {
            let wide = self.x.to_dtype(DType::F32)?;
            let _ = self.wide.set(wide);
        }
        Ok(self.wide.get().unwrap_or(self.x))
    }
}

impl Matrix {
    /// Puts a matrix of a file onto a device: blocks as they are, where they are to be kept.
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

    /// `x · matrixᵀ`, (rows, out).
    pub fn product(&self, x: &Input<'_>) -> Result<Tensor> {
        match self {
            Self::Numbers(numbers) => x.x.matmul(&numbers.t()?),
            Self::Blocks { matrix, .. } => matrix.forward(x.wide()?)?.to_dtype(x.x.dtype()),
        }
    }

    /// Some rows of it.
    pub fn rows(&self, rows: &Tensor) -> Result<Tensor> {
        match self {
            Self::Numbers(numbers) => numbers.index_select(rows, 0),
            Self::Blocks { .. } => candle_core::bail!("rows of blocks are never looked up"),
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

/// The numbers of a matrix of a file, on the CPU.
fn decode(source: Source, bytes: &[u8], size: (usize, usize)) -> Result<Tensor> {
    let (rows, columns) = size;
    let raw = |dtype| Tensor::from_raw_buffer(bytes, dtype, &[rows, columns], &Device::Cpu);
    match source {
        Source::F32 => raw(DType::F32),
        Source::F16 => raw(DType::F16),
        Source::Bf16 => raw(DType::BF16),
        _ => {
            let mut values = vec![0.0; rows * columns];
            source.decode(bytes, &mut values);
            Tensor::from_vec(values, size, &Device::Cpu)
        }
    }
}
