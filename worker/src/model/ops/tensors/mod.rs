//! The operations by candle's tensors.
//!
//! | module | holds |
//! |---|---|
//! | `plan` | what a model takes |
//! | `matrix` | weights, as numbers or in blocks |
//! | `cache` | keys and values of all slots |
//! | `step` | what holds for all layers of a step: turns, masks, rows and their slots |
//! | `groups` | which sequences attend together |
//!
//! On a card a step is as long as its kernels and what lies between them: few large operations beat many small ones, so all
//! sequences of a step are computed together wherever they can be.

mod cache;
mod groups;
mod matrix;
mod plan;
mod step;

use candle_core::quantized::GgmlDType;
use candle_core::{D, DType, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use candle_nn::rotary_emb::rope;
use pool_core::device::Backend;

use super::{Ops, Product, Turns};
use crate::cpu::{Tier, argmax};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::memory::scratch;
use crate::model::network::{Memory, Span};
use crate::model::options::Keep;
use crate::model::weights::{MatrixAt, as_many, each};
use cache::Cache;
use matrix::{Input, Matrix, Whole};
pub use plan::Plan;
use step::{Group, Step};

/// Bytes of keys and values of a layer that a group may read for nothing: about what a card reads in the time in which the
/// operations of one more group are begun.
const WASTE: u64 = 32 << 20;

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
    /// (1, vocab) of numbers that sink to 1.
    places: Tensor,
    /// What is read of a file at a time, while loading.
    bytes: Vec<u8>,
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
        let places = (0..config.vocab).rev().map(|place| (place + 1) as f32);
        let places = Tensor::from_iter(places, &device)?.unsqueeze(0)?;
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
            places,
            bytes: Vec::new(),
            read: Vec::new(),
            device,
        })
    }

    /// Takes matrices of so many rows, (out, in), that are on the CPU one below the other.
    pub(in crate::model) fn place<const N: usize>(
        &mut self,
        numbers: &Tensor,
        kind: Option<GgmlDType>,
        rows: [usize; N],
    ) -> Result<[Matrix; N]> {
        let whole = Whole::place(numbers, kind, self.dtype, &self.device)?;
        self.memory.weights += whole.bytes();
        Ok(as_many(whole.parts(rows.into_iter()).collect()))
    }

    /// The rows of a group, each (heads * `head_dim`), as (slots, heads, tokens, `head_dim`).
    fn by_head(&self, x: &Tensor, group: &Group, heads: usize) -> Result<Tensor> {
        let (slots, tokens) = (group.slots.len(), group.tokens);
        group
            .spread(&x.narrow(0, group.first, group.rows())?)?
            .reshape((slots, tokens, heads, self.head_dim))?
            .transpose(1, 2)?
            .contiguous()
    }

    /// What the queries of a group see, (slots * tokens, heads * `head_dim`).
    fn attend(
        &self,
        query: Tensor,
        [keys, values]: [Tensor; 2],
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (slots, _, tokens, _) = query.dims4()?;
        let end = keys.dim(2)?;
        // The queries that share a head of keys lie side by side, so they count as more rows of one product and the keys
        // are never copied.
        let shared = self.heads / self.kv_heads * tokens;
        let query = (query * (self.head_dim as f64).powf(-0.5))?;
        let query = query.reshape((slots, self.kv_heads, shared, self.head_dim))?;
        let mut scores = query.matmul(&keys.transpose(2, 3)?)?;
        if let Some(mask) = mask {
            let shape = scores.shape().clone();
            scores = scores.reshape((slots, self.heads, tokens, end))?;
            scores = scores.broadcast_add(mask)?.reshape(shape)?;
        }
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        mixed
            .reshape((slots, self.heads, tokens, self.head_dim))?
            .transpose(1, 2)?
            .reshape((slots * tokens, self.heads * self.head_dim))
    }
}

/// The numbers of a tensor, on the CPU.
fn numbers(x: &Tensor) -> Result<Vec<f32>> {
    x.to_dtype(DType::F32)?.flatten_all()?.to_vec1()
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

    fn matrices<const N: usize>(
        &mut self,
        from: &Checkpoint,
        at: [&MatrixAt; N],
    ) -> std::result::Result<[Matrix; N], ModelError> {
        let at = each(at, |at| {
            from.source(&at.name, &at.shape).map(|source| (at, source))
        })?;
        let mut made = Vec::with_capacity(N);
        for alike in at.chunk_by(|(_, a), (_, b)| a == b) {
            let (first, source) = alike[0];
            self.bytes.clear();
            for (at, _) in alike {
                from.append(&at.name, at.rows.clone(), &mut self.bytes)?;
            }
            let rows = alike.iter().map(|(at, _)| at.rows.len());
            let size = (rows.clone().sum(), first.shape[1]);
            let kind = matrix::kind(self.keep, source, first);
            let whole = Whole::load(source, &self.bytes, size, kind, self.dtype, &self.device)?;
            self.memory.weights += whole.bytes();
            made.extend(whole.parts(rows));
        }
        Ok(as_many(made))
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Tensor> {
        let length = values.len();
        self.memory.weights += (length * self.dtype.size_in_bytes()) as u64;
        Tensor::from_vec(values, length, &self.device)?.to_dtype(self.dtype)
    }

    fn begin(&mut self, spans: &[Span<'_>], turns: Turns) -> Result<()> {
        self.bytes = Vec::new();
        let position = self.cache.position_bytes();
        let waste = (WASTE / position.max(1)) as usize;
        let mut widths = [self.heads, self.kv_heads]
            .map(|heads| heads * self.head_dim)
            .to_vec();
        widths.dedup();
        self.step = Step::new(spans, &turns, waste, &widths, self.dtype, &self.device)?;
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
        let mut x = Input::new(rows(x)?);
        for (weight, bias, y) in products {
            let product = x.product(weight)?;
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
        self.step
            .mask(window, self.heads, self.dtype, &self.device)?;
        let (query, key, value) = (rows(query)?, rows(key)?, rows(value)?);
        let mut mixed = Vec::new();
        for group in &self.step.groups {
            let new = [
                self.by_head(key, group, self.kv_heads)?,
                self.by_head(value, group, self.kv_heads)?,
            ];
            let held = self.cache.keep(layer, group, new)?;
            let query = self.by_head(query, group, self.heads)?;
            let seen = self.attend(query, held, group.mask(window))?;
            mixed.push(group.gather(seen)?);
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

    fn host<'a>(&'a mut self, x: &'a Option<Tensor>, count: usize) -> Result<&'a [f32]> {
        let x = rows(x)?;
        self.read = match count {
            0 => Vec::new(),
            _ if count == x.dim(0)? => numbers(x)?,
            // Of a part of a tensor all of it would be copied.
            _ => numbers(&x.narrow(0, 0, count)?.force_contiguous()?)?,
        };
        Ok(&self.read)
    }

    fn likeliest(&mut self, x: &Option<Tensor>, after: usize) -> Result<Vec<Option<u32>>> {
        let x = rows(x)?;
        let count = x.dim(0)? - after;
        if count == 0 {
            return Ok(Vec::new());
        }
        let x = x.narrow(0, after, count)?;
        let vocab = x.dim(1)?;
        // The first of equals, in whatever order a device looks.
        let most = x.max_keepdim(D::Minus1)?;
        let is_most = x.broadcast_eq(&most)?.to_dtype(DType::F32)?;
        let first = is_most.broadcast_mul(&self.places)?;
        let first = first.max_keepdim(D::Minus1)?;
        // One copy for both: places are exact as f32.
        let most = most.to_dtype(DType::F32)?;
        let found = numbers(&Tensor::cat(&[most, first], 1)?)?;
        let found = found.chunks_exact(2).enumerate();
        let found = found.map(|(row, found)| {
            if found[0] > f32::NEG_INFINITY && found[1] > 0.0 {
                return Ok(Some(vocab as u32 - found[1] as u32));
            }
            // What is no number hides the others.
            let row = numbers(&x.narrow(0, row, 1)?.force_contiguous()?)?;
            Ok(argmax(Tier::best(), &row).map(|best| best as u32))
        });
        found.collect()
    }

    fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        self.cache.copy(from, to, positions)
    }

    fn clear(&mut self, slot: usize, from: usize) -> Result<()> {
        self.cache.clear(slot, from)
    }

    fn memory(&self) -> Memory {
        self.memory
    }
}
