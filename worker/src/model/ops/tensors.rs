//! The operations by candle's tensors.

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};
use pool_core::device::Backend;

use super::{Ops, Product, Turns};
use crate::cpu::Source;
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::memory::scratch;
use crate::model::network::{Memory, Span};
use crate::model::weights::MatrixAt;

/// A device of candle, with keys and values of all slots.
pub struct Tensors {
    device: Device,
    dtype: DType,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    /// Of each layer, then of each slot.
    kv: Vec<Vec<KeyValues>>,
    memory: Memory,
    step: Step,
    /// Numbers that were read from the device.
    read: Vec<f32>,
}

/// Keys and values of a slot and layer, each (`kv_heads`, context, `head_dim`).
struct KeyValues {
    keys: Tensor,
    values: Tensor,
}

/// What holds for all layers of a step.
#[derive(Default)]
struct Step {
    /// Slot, position and number of tokens of each span.
    spans: Vec<(usize, usize, usize)>,
    /// Each (rows, half).
    turns: Option<(Tensor, Tensor)>,
    masks: Vec<Mask>,
}

/// What hides tokens, if anything does, for a span and a window.
type Mask = ((usize, Option<usize>), Option<Tensor>);

impl Tensors {
    /// Takes the memory of keys and values. Everything is kept and computed as `dtype`.
    pub fn new(
        device: Device,
        dtype: DType,
        config: &Config,
        context: usize,
        slots: usize,
    ) -> Result<Self> {
        let shape = (config.kv_heads, context, config.head_dim);
        let zeros = || Tensor::zeros(shape, dtype, &device);
        let slot = |_| {
            Ok(KeyValues {
                keys: zeros()?,
                values: zeros()?,
            })
        };
        let layer = |_| (0..slots).map(slot).collect::<Result<Vec<_>>>();
        let kv = (0..config.layers).map(layer).collect::<Result<Vec<_>>>()?;
        let backend = match device {
            Device::Metal(_) => Backend::Metal,
            Device::Cuda(_) | Device::Cpu => Backend::Cuda,
        };
        let numbers = 2 * config.layers * slots * config.kv_heads * context * config.head_dim;
        Ok(Self {
            dtype,
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            kv,
            memory: Memory {
                weights: 0,
                kv: (numbers * dtype.size_in_bytes()) as u64,
                scratch: scratch(backend, config, slots, context, 0),
            },
            step: Step::default(),
            read: Vec::new(),
            device,
        })
    }

    /// One span: `query` is (heads, tokens, `head_dim`), `key` and `value` (`kv_heads`, tokens, `head_dim`).
    fn attend(
        &self,
        layer: usize,
        span: usize,
        [query, key, value]: [Tensor; 3],
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let (slot, position, tokens) = self.step.spans[span];
        let kv = &self.kv[layer][slot];
        kv.keys.slice_set(&key, 1, position)?;
        kv.values.slice_set(&value, 1, position)?;
        let end = position + tokens;
        let (keys, values) = (kv.keys.narrow(1, 0, end)?, kv.values.narrow(1, 0, end)?);
        // The queries that share a head of keys lie side by side, so they count as more rows of one product and the keys
        // are never copied.
        let rows = self.heads / self.kv_heads * tokens;
        let query = (query * (self.head_dim as f64).powf(-0.5))?;
        let query = query.reshape((self.kv_heads, rows, self.head_dim))?;
        let scores = query.matmul(&keys.transpose(1, 2)?)?;
        let scores = match mask {
            Some(mask) => {
                let by_head = scores.reshape((self.heads, tokens, end))?;
                by_head.broadcast_add(mask)?.reshape(scores.shape())?
            }
            None => scores,
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        let mixed = mixed.reshape((self.heads, tokens, self.head_dim))?;
        mixed
            .transpose(0, 1)?
            .reshape((tokens, self.heads * self.head_dim))
    }

    /// Hides later tokens, and those before the window: (tokens, position + tokens) of 0 and -∞; none when nothing is hidden.
    fn mask(
        &self,
        position: usize,
        tokens: usize,
        window: Option<usize>,
    ) -> Result<Option<Tensor>> {
        let total = position + tokens;
        let window = window.unwrap_or(total);
        if tokens == 1 && total <= window {
            return Ok(None);
        }
        let row = |token: usize| {
            let own = position + token;
            (0..total).map(move |at| {
                if at <= own && own - at < window {
                    0.0_f32
                } else {
                    f32::NEG_INFINITY
                }
            })
        };
        let mask: Vec<f32> = (0..tokens).flat_map(row).collect();
        let mask = Tensor::from_vec(mask, (tokens, total), &self.device)?;
        mask.to_dtype(self.dtype).map(Some)
    }
}

/// The rows of a step; none before the first.
#[allow(clippy::ref_option, reason = "it takes what the operations are given")]
fn rows(x: &Option<Tensor>) -> Result<&Tensor> {
    x.as_ref()
        .ok_or_else(|| candle_core::Error::Msg("no rows were computed yet".to_owned()))
}

impl Ops for Tensors {
    type Matrix = Tensor;
    type Vector = Tensor;
    type Rows = Option<Tensor>;

    fn matrix(
        &mut self,
        from: &Checkpoint,
        at: &MatrixAt,
    ) -> std::result::Result<Tensor, ModelError> {
        let source = from.source(&at.name, &at.shape)?;
        let mut bytes = Vec::new();
        from.read(&at.name, at.rows.clone(), &mut bytes)?;
        let raw = |dtype| {
            Tensor::from_raw_buffer(&bytes, dtype, &[at.rows.len(), at.shape[1]], &Device::Cpu)
        };
        let matrix = match source {
            Source::F32 => raw(DType::F32)?,
            Source::F16 => raw(DType::F16)?,
            Source::Bf16 => raw(DType::BF16)?,
            _ => {
                let (rows, columns) = at.size();
                let mut values = vec![0.0; rows * columns];
                source.decode(&bytes, &mut values);
                Tensor::from_vec(values, at.size(), &Device::Cpu)?
            }
        };
        drop(bytes);
        let matrix = matrix.to_dtype(self.dtype)?.to_device(&self.device)?;
        self.memory.weights += (matrix.elem_count() * self.dtype.size_in_bytes()) as u64;
        Ok(matrix)
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Tensor> {
        let length = values.len();
        self.memory.weights += (length * self.dtype.size_in_bytes()) as u64;
        Tensor::from_vec(values, length, &self.device)?.to_dtype(self.dtype)
    }

    fn begin(&mut self, spans: &[Span<'_>], turns: Turns) -> Result<()> {
        let shape = (turns.cos.len() / turns.half, turns.half);
        let tensor = |numbers| Tensor::from_vec(numbers, shape, &self.device)?.to_dtype(self.dtype);
        let span = |span: &Span<'_>| (span.slot, span.position, span.tokens.len());
        self.step = Step {
            turns: Some((tensor(turns.cos)?, tensor(turns.sin)?)),
            spans: spans.iter().map(span).collect(),
            masks: Vec::new(),
        };
        Ok(())
    }

    fn embed(&mut self, table: &Tensor, tokens: &[u32], out: &mut Option<Tensor>) -> Result<()> {
        *out = Some(table.index_select(&Tensor::new(tokens, &self.device)?, 0)?);
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
        products: [Product<'_, Tensor, Tensor, Option<Tensor>>; N],
    ) -> Result<()> {
        let x = rows(x)?;
        for (weight, bias, y) in products {
            let product = x.matmul(&weight.t()?)?;
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
        let heads = rows(x)?.reshape((count, width / self.head_dim, self.head_dim))?;
        let half = cos.dim(1)?;
        let part = |start, length| heads.narrow(2, start, length);
        let (first, second) = (part(0, half)?, part(half, half)?);
        let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
        let turned = [
            (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?,
            (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?,
            part(2 * half, self.head_dim - 2 * half)?,
        ];
        *x = Some(Tensor::cat(&turned, 2)?.reshape((count, width))?);
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
        let mut mixed = Vec::new();
        let mut first = 0;
        for span in 0..self.step.spans.len() {
            let (_, position, tokens) = self.step.spans[span];
            let same = |((of, to), _): &&(_, _)| *of == span && *to == window;
            let mask = if let Some((_, mask)) = self.step.masks.iter().find(same) {
                mask.clone()
            } else {
                let mask = self.mask(position, tokens, window)?;
                self.step.masks.push(((span, window), mask.clone()));
                mask
            };
            // (tokens, heads * head_dim) → (heads, tokens, head_dim)
            let split = |x: &Option<Tensor>, heads| {
                let x = rows(x)?.narrow(0, first, tokens)?;
                let x = x.reshape((tokens, heads, self.head_dim))?;
                x.transpose(0, 1)?.contiguous()
            };
            let parts = [
                split(query, self.heads)?,
                split(key, self.kv_heads)?,
                split(value, self.kv_heads)?,
            ];
            mixed.push(self.attend(layer, span, parts, mask.as_ref())?);
            first += tokens;
        }
        *out = Some(Tensor::cat(&mixed, 0)?);
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
        let chosen: Vec<u32> = chosen.iter().map(|&row| row as u32).collect();
        let chosen = Tensor::new(chosen, &self.device)?;
        *out = Some(rows(x)?.index_select(&chosen, 0)?);
        Ok(())
    }

    fn host<'a>(&'a mut self, x: &'a Option<Tensor>) -> Result<&'a [f32]> {
        self.read = rows(x)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(&self.read)
    }

    fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        for layer in &self.kv {
            for part in [
                |kv: &KeyValues| kv.keys.clone(),
                |kv: &KeyValues| kv.values.clone(),
            ] {
                let held = part(&layer[from]).narrow(1, 0, positions)?.contiguous()?;
                part(&layer[to]).slice_set(&held, 1, 0)?;
            }
        }
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.memory
    }
}
