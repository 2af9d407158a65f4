//! The operations by candle's tensors.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | what a model takes |
//! | `matrix` | weights, as numbers or in blocks |
//! | `cache` | keys and values of all slots |
//! | `step` | what holds for all layers of a step: who computes together, turns, masks |
//!
//! On a card a step is as long as its kernels and what lies between them: few large operations beat many small ones, so all
//! sequences of a step are computed together wherever they can be.

mod cache;
mod matrix;
mod plan;
mod step;

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::rope;
use pool_core::device::Backend;

use super::{Ops, Product, Turns};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::memory::scratch;
use crate::model::network::{Memory, Span};
use crate::model::options::Keep;
use crate::model::weights::MatrixAt;
use cache::Cache;
use matrix::Matrix;
pub use plan::Plan;
use step::{Group, Step};

/// A device of candle, with keys and values of all slots.
pub struct Tensors {
    device: Device,
    dtype: DType,
    keep: Keep,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    cache: Cache,
    memory: Memory,
    step: Step,
    /// Numbers that were read from the device.
    read: Vec<f32>,
}

impl Tensors {
    /// Takes the memory of keys and values. Everything is computed as `dtype`, and kept so but for matrices in blocks.
    pub fn new(
        device: Device,
        dtype: DType,
        keep: Keep,
        config: &Config,
        context: usize,
        slots: usize,
    ) -> Result<Self> {
        let cache = Cache::new(&device, dtype, config, context, slots)?;
        let backend = match device {
            Device::Metal(_) => Backend::Metal,
            Device::Cuda(_) | Device::Cpu => Backend::Cuda,
        };
        Ok(Self {
            dtype,
            keep,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            memory: Memory {
                weights: 0,
                kv: cache.bytes(),
                scratch: scratch(backend, config, slots, context, 0),
            },
            cache,
            step: Step::default(),
            read: Vec::new(),
            device,
        })
    }

    /// Takes a matrix, (out, in), that is on the CPU.
    pub(in crate::model) fn place(
        &mut self,
        numbers: &Tensor,
        kind: Option<GgmlDType>,
    ) -> Result<Matrix> {
        let matrix = Matrix::place(numbers, kind, self.dtype, &self.device)?;
        self.memory.weights += matrix.bytes();
        Ok(matrix)
    }

    /// The rows of a group, each (heads * `head_dim`), as (sequences, heads, tokens, `head_dim`).
    fn by_head(&self, x: &Tensor, group: &Group, heads: usize) -> Result<Tensor> {
        let (sequences, tokens) = (group.slots.len(), group.tokens);
        x.narrow(0, group.first, sequences * tokens)?
            .reshape((sequences, tokens, heads, self.head_dim))?
            .transpose(1, 2)?
            .contiguous()
    }

    /// What the queries of a group see, (sequences * tokens, heads * `head_dim`).
    fn attend(
        &self,
        query: Tensor,
        [keys, values]: [Tensor; 2],
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (sequences, _, tokens, _) = query.dims4()?;
        let end = keys.dim(2)?;
        // The queries that share a head of keys lie side by side, so they count as more rows of one product and the keys
        // are never copied.
        let shared = self.heads / self.kv_heads * tokens;
        let query = (query * (self.head_dim as f64).powf(-0.5))?;
        let query = query.reshape((sequences, self.kv_heads, shared, self.head_dim))?;
        let mut scores = query.matmul(&keys.transpose(2, 3)?)?;
        if let Some(mask) = mask {
            let shape = scores.shape().clone();
            scores = scores.reshape((sequences, self.heads, tokens, end))?;
            scores = scores.broadcast_add(mask)?.reshape(shape)?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        mixed
            .reshape((sequences, self.heads, tokens, self.head_dim))?
            .transpose(1, 2)?
            .reshape((sequences * tokens, self.heads * self.head_dim))
    }
}

/// The rows of a step; none before the first.
#[allow(clippy::ref_option, reason = "it takes what the operations are given")]
fn rows(x: &Option<Tensor>) -> Result<&Tensor> {
    x.as_ref()
        .ok_or_else(|| candle_core::Error::Msg("no rows were computed yet".to_owned()))
}

impl Ops for Tensors {
    type Matrix = Matrix;
    type Vector = Tensor;
    type Rows = Option<Tensor>;

    fn matrix(
        &mut self,
        from: &Checkpoint,
        at: &MatrixAt,
    ) -> std::result::Result<Matrix, ModelError> {
        let source = from.source(&at.name, &at.shape)?;
        let mut bytes = Vec::new();
        from.read(&at.name, at.rows.clone(), &mut bytes)?;
        let kind = matrix::kind(self.keep, source, at);
        let matrix = Matrix::load(source, &bytes, at.size(), kind, self.dtype, &self.device)?;
        self.memory.weights += matrix.bytes();
        Ok(matrix)
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Tensor> {
        let length = values.len();
        self.memory.weights += (length * self.dtype.size_in_bytes()) as u64;
        Tensor::from_vec(values, length, &self.device)?.to_dtype(self.dtype)
    }

    fn begin(&mut self, spans: &[Span<'_>], turns: Turns) -> Result<()> {
        self.step = Step::new(spans, &turns, self.dtype, &self.device)?;
        for group in &mut self.step.groups {
            group.targets = self.cache.targets(group)?;
        }
        Ok(())
    }

    fn embed(&mut self, table: &Matrix, tokens: &[u32], out: &mut Option<Tensor>) -> Result<()> {
        let tokens = Tensor::new(self.step.ordered(tokens), &self.device)?;
        *out = Some(table.rows(&tokens)?);
        Ok(())
    }

    fn norm(
        &mut self,
        x: &Option<Tensor>,
        weight: &Tensor,
        eps: f32,
        out: &mut Option<Tensor>,
    ) -> Result<()> {
        *out = Some(rms_norm(&rows(x)?.contiguous()?, weight, eps)?);
        Ok(())
    }

    fn linear<const N: usize>(
        &mut self,
        x: &Option<Tensor>,
        products: [Product<'_, Matrix, Tensor, Option<Tensor>>; N],
    ) -> Result<()> {
        let x = matrix::Input::new(rows(x)?);
        for (weight, bias, y) in products {
            let product = weight.product(&x)?;
            *y = Some(match bias {
                Some(bias) => product.broadcast_add(bias)?,
                None => product,
            });
        }
        Ok(())
    }

    fn rope(&mut self, x: &mut Option<Tensor>) -> Result<()> {
        let Some((cos, sin)) = &self.step.turns else {
            return Ok(());
        };
        let (count, width) = rows(x)?.dims2()?;
        let heads = rows(x)?.reshape((count, width / self.head_dim, 1, self.head_dim))?;
        let turned = 2 * cos.dim(2)?;
        let heads = if turned == self.head_dim {
            rope(&heads, cos, sin)?
        } else {
            let rest = heads.narrow(3, turned, self.head_dim - turned)?;
            let heads = heads.narrow(3, 0, turned)?.contiguous()?;
            Tensor::cat(&[rope(&heads, cos, sin)?, rest], 3)?
        };
        *x = Some(heads.reshape((count, width))?);
        Ok(())
    }

    fn attention(
        &mut self,
        layer: usize,
        window: Option<usize>,
        query: &Option<Tensor>,
        key: &Option<Tensor>,
        value: &Option<Tensor>,
        out: &mut Option<Tensor>,
    ) -> Result<()> {
        self.step.mask(window, self.dtype, &self.device)?;
        let (query, key, value) = (rows(query)?, rows(key)?, rows(value)?);
        let mut mixed = Vec::new();
        for group in &self.step.groups {
            let new = [
                self.by_head(key, group, self.kv_heads)?,
                self.by_head(value, group, self.kv_heads)?,
            ];
            let held = self.cache.keep(layer, group, new)?;
            let query = self.by_head(query, group, self.heads)?;
            mixed.push(self.attend(query, held, group.mask(window))?);
        }
        *out = Some(match &mixed[..] {
            [alone] => alone.clone(),
            several => Tensor::cat(several, 0)?,
        });
        Ok(())
    }

    fn gate(&mut self, gate: &mut Option<Tensor>, up: &Option<Tensor>) -> Result<()> {
        *gate = Some((rows(gate)?.silu()? * rows(up)?)?);
        Ok(())
    }

    fn add(&mut self, x: &mut Option<Tensor>, y: &Option<Tensor>) -> Result<()> {
        *x = Some((rows(x)? + rows(y)?)?);
        Ok(())
    }

    fn select(
        &mut self,
        x: &Option<Tensor>,
        chosen: &[usize],
        out: &mut Option<Tensor>,
    ) -> Result<()> {
        let chosen: Vec<u32> = chosen
            .iter()
            .map(|&row| self.step.places[row] as u32)
            .collect();
        let chosen = Tensor::new(chosen, &self.device)?;
        *out = Some(rows(x)?.index_select(&chosen, 0)?);
        Ok(())
    }

    fn host<'a>(&'a mut self, x: &'a Option<Tensor>) -> Result<&'a [f32]> {
        self.read = rows(x)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(&self.read)
    }

    fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        self.cache.copy(from, to, positions)
    }

    fn clear(&mut self, slot: usize) -> Result<()> {
        self.cache.clear(slot)
    }

    fn memory(&self) -> Memory {
        self.memory
    }
}
