//! The operations by this crate's own kernels.

use candle_core::Result;
use pool_core::device::Backend;
use pool_core::fit;

use super::{Ops, Product, Turns};
use crate::cpu::{
    self, Attention, Cpu, Kind, KvCache, KvShape, Linear, Matrix, Place, Region, Scratch,
};
use crate::model::checkpoint::Checkpoint;
use crate::model::config::Config;
use crate::model::error::ModelError;
use crate::model::memory::{self, scratch};
use crate::model::network::{MOST_ROWS, Memory, Span};
use crate::model::options::Keep;
use crate::model::weights::{MatrixAt, Weights, each};

/// Bytes that are read from a file at a time.
const PIECE: usize = 4 << 20;

/// The CPU: its threads, the memory of the weights, keys and values of all slots.
pub struct Kernels {
    cpu: Cpu,
    keep: Keep,
    region: Region,
    kv: KvCache,
    heads: usize,
    head_dim: usize,
    vocab: usize,
    scratch: Scratch,
    memory: Memory,
    /// What is read of a file at a time, while loading.
    piece: Vec<u8>,
    /// Of the rows of the step.
    places: Vec<Place>,
    indices: Vec<usize>,
    turns: Turns,
}

impl Kernels {
    /// Takes the memory that the model needs, all of it, or says how much is needed and free.
    pub fn new(
        cpu: Cpu,
        keep: Keep,
        config: &Config,
        context: usize,
        slots: usize,
        checkpoint: &Checkpoint,
    ) -> std::result::Result<Self, ModelError> {
        let mut weights = 0_usize;
        for at in Weights::places(config).matrices() {
            let kind = keep.kind(checkpoint.source(&at.name, &at.shape)?, at);
            let (rows, columns) = at.size();
            weights = weights.saturating_add(Matrix::bytes_of(kind, rows, columns)?);
        }
        let embedding = Weights::places(config).embedding;
        let source = checkpoint.source(&embedding.name, &embedding.shape)?;
        let shape = |capacity| KvShape {
            // As exact as the weights, or, as llama.cpp has it, half as wide.
            kind: match keep.kind(source, &embedding) {
                Kind::F32 => Kind::F32,
                _ => Kind::F16,
            },
            slots,
            layers: config.layers,
            heads: config.kv_heads,
            head_dim: config.head_dim,
            capacity,
        };
        let kv = KvCache::bytes_of(shape(context))?;
        let bytes = fit::Need {
            weights: weights as u64,
            kv: kv as u64,
            scratch: scratch(Backend::Cpu, config, slots, context, cpu.threads.count()),
        };
        let need = memory::Need {
            bytes,
            context,
            slots,
        };
        memory::check(&need, memory::free())?;
        let region = |bytes| Region::new(bytes).map_err(ModelError::NoMemory);
        let region_of_weights = region(weights)?;
        let inputs = config.hidden.max(config.intermediate);
        let inputs = inputs.max(config.heads * config.head_dim) * (MOST_ROWS + slots);
        Ok(Self {
            scratch: Scratch::new(&cpu, inputs, context),
            kv: KvCache::new(&mut region(kv)?, shape(context))?,
            cpu,
            keep,
            region: region_of_weights,
            heads: config.heads,
            head_dim: config.head_dim,
            vocab: config.vocab,
            memory: Memory {
                weights: bytes.weights,
                kv: bytes.kv,
                scratch: bytes.scratch,
            },
            piece: Vec::new(),
            places: Vec::new(),
            indices: Vec::new(),
            turns: Turns::default(),
        })
    }

    fn matrix(
        &mut self,
        from: &Checkpoint,
        at: &MatrixAt,
    ) -> std::result::Result<Matrix, ModelError> {
        let source = from.source(&at.name, &at.shape)?;
        let (rows, columns) = at.size();
        let kind = self.keep.kind(source, at);
        let mut matrix = Matrix::new(&mut self.region, kind, rows, columns)?;
        // Whole panels at a time.
        let step = (PIECE / source.row_bytes(columns)?.max(1)).next_multiple_of(16);
        for first in (0..rows).step_by(step) {
            let last = rows.min(first + step);
            self.piece.clear();
            from.append(
                &at.name,
                at.rows.start + first..at.rows.start + last,
                &mut self.piece,
            )?;
            matrix.fill(&self.cpu, first, source, &self.piece)?;
        }
        Ok(matrix)
    }
}

/// Makes room for (rows, width) numbers, whatever they are.
fn room(out: &mut Vec<f32>, rows: usize, width: usize) -> &mut [f32] {
    out.resize(rows * width, 0.0);
    out
}

impl Ops for Kernels {
    type Matrix = Matrix;
    type Vector = Vec<f32>;
    type Rows = Vec<f32>;

    fn matrices<const N: usize>(
        &mut self,
        from: &Checkpoint,
        at: [&MatrixAt; N],
    ) -> std::result::Result<[Matrix; N], ModelError> {
        each(at, |at| self.matrix(from, at))
    }

    fn vector(&mut self, values: Vec<f32>) -> Result<Vec<f32>> {
        self.memory.weights += size_of_val(&values[..]) as u64;
        Ok(values)
    }

    fn begin(&mut self, spans: &[Span<'_>], turns: Turns) -> Result<()> {
        self.piece = Vec::new();
        self.turns = turns;
        self.places.clear();
        for span in spans {
            let positions = span.position..span.position + span.tokens.len();
            let slot = span.slot;
            self.places
                .extend(positions.map(|position| Place { slot, position }));
        }
        self.indices.clear();
        self.indices.extend(0..self.places.len());
        Ok(())
    }

    fn embed(&mut self, table: &Matrix, tokens: &[u32], out: &mut Vec<f32>) -> Result<()> {
        let width = table.columns();
        let out = room(out, tokens.len(), width);
        for (token, row) in tokens.iter().zip(out.chunks_exact_mut(width)) {
            table.row(*token as usize, row);
        }
        Ok(())
    }

    fn norm(
        &mut self,
        x: &Vec<f32>,
        weight: &Vec<f32>,
        eps: f32,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let out = room(out, x.len() / weight.len(), weight.len());
        cpu::rms_norm(&self.cpu, x, weight, eps, out);
        Ok(())
    }

    fn linear<const N: usize>(
        &mut self,
        x: &Vec<f32>,
        products: [Product<'_, Matrix, Vec<f32>, Vec<f32>>; N],
    ) -> Result<()> {
        let products = products.map(|(weights, bias, y)| Linear {
            weights,
            bias: bias.map(Vec::as_slice),
            y: room(y, x.len() / weights.columns(), weights.rows()),
        });
        cpu::linear(&self.cpu, &mut self.scratch, x, products);
        Ok(())
    }

    fn rope(&mut self, x: &mut Vec<f32>) -> Result<()> {
        let Turns { half, cos, sin } = &self.turns;
        cpu::rope(&self.cpu, x, &self.indices, self.head_dim, *half, cos, sin);
        Ok(())
    }

    fn attention(
        &mut self,
        layer: usize,
        window: Option<usize>,
        query: &Vec<f32>,
        key: &Vec<f32>,
        value: &Vec<f32>,
        out: &mut Vec<f32>,
    ) -> Result<()> {
        self.kv.store(&self.cpu, layer, &self.places, key, value);
        let with = Attention {
            kv: &self.kv,
            layer,
            heads: self.heads,
            scale: (self.head_dim as f32).powf(-0.5),
            window,
        };
        let out = room(out, self.places.len(), self.heads * self.head_dim);
        cpu::attention(&self.cpu, &mut self.scratch, with, &self.places, query, out);
        Ok(())
    }

    fn gate(&mut self, gate: &mut Vec<f32>, up: &Vec<f32>) -> Result<()> {
        cpu::swiglu(&self.cpu, gate, up);
        Ok(())
    }

    fn add(&mut self, x: &mut Vec<f32>, y: &Vec<f32>) -> Result<()> {
        cpu::add(&self.cpu, x, y);
        Ok(())
    }

    fn select(&mut self, x: &Vec<f32>, rows: &[usize], out: &mut Vec<f32>) -> Result<()> {
        let width = x.len() / self.places.len();
        out.clear();
        for row in rows {
            out.extend_from_slice(&x[row * width..][..width]);
        }
        Ok(())
    }

    fn host<'a>(&'a mut self, x: &'a Vec<f32>, rows: usize) -> Result<&'a [f32]> {
        Ok(&x[..rows * self.vocab])
    }

    fn likeliest(&mut self, x: &Vec<f32>, after: usize) -> Result<Vec<Option<u32>>> {
        let rows = x.chunks_exact(self.vocab).skip(after);
        let best = rows.map(|row| Some(cpu::argmax(self.cpu.tier, row)? as u32));
        Ok(best.collect())
    }

    fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        self.kv.copy(from, to, positions);
        Ok(())
    }

    fn clear(&mut self, _: usize, _: usize) -> Result<()> {
        // Nothing behind a sequence's own length is read.
        Ok(())
    }

    fn memory(&self) -> Memory {
        self.memory
    }
}
