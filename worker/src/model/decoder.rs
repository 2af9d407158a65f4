//! The decoder: tokens in, logits out.
//!
//! Pre-norm transformer of the families of Llama: RMSNorm, grouped-query attention with rotary positions, SwiGLU. Touvron
//! et al., "LLaMA", section 2.2; Ainslie et al., "GQA"; Jiang et al., "Mistral 7B", section 2 for the window. The families
//! differ in what [`Config`] says.

use candle_core::{Result, bail};

use super::checkpoint::Checkpoint;
use super::config::Config;
use super::error::ModelError;
use super::network::{Computed, Memory, Network, Span, Wanted};
use super::ops::{Ops, Turns};
use super::weights::{Make, MatrixAt, VectorAt, Weights};

/// A model, computed with one set of operations.
pub struct Decoder<O: Ops> {
    config: Config,
    context: usize,
    slots: usize,
    ops: O,
    weights: Weights<O::Matrix, O::Vector>,
    rows: Rows<O::Rows>,
    /// Of the last step.
    likeliest: Vec<Option<u32>>,
}

/// What a step computes in.
#[derive(Default)]
struct Rows<R> {
    /// The residual stream, (rows, hidden).
    x: R,
    normed: R,
    query: R,
    key: R,
    value: R,
    /// What attention gathered, (rows, heads * head dim).
    mixed: R,
    gate: R,
    up: R,
    /// What a layer adds, (rows, hidden).
    sum: R,
    logits: R,
}

/// Reads weights one after another and tells how far it is.
struct Loader<'a, O> {
    ops: &'a mut O,
    checkpoint: &'a Checkpoint,
    progress: &'a dyn Fn(u8),
    /// Of all matrices, and of those that are there.
    numbers: usize,
    done: usize,
}

impl<O: Ops> Make<MatrixAt, VectorAt> for Loader<'_, O> {
    type Matrix = O::Matrix;
    type Vector = O::Vector;
    type Error = ModelError;

    fn matrices<const N: usize>(
        &mut self,
        at: [MatrixAt; N],
    ) -> std::result::Result<[O::Matrix; N], ModelError> {
        let matrices = self.ops.matrices(self.checkpoint, at.each_ref())?;
        self.done += at.iter().map(MatrixAt::count).sum::<usize>();
        (self.progress)((self.done * 100 / self.numbers.max(1)).min(100) as u8);
        Ok(matrices)
    }

    fn vector(&mut self, at: VectorAt) -> std::result::Result<O::Vector, ModelError> {
        let values = self.checkpoint.vector(&at.name, at.length)?;
        Ok(self.ops.vector(values)?)
    }
}

impl<O: Ops> Decoder<O> {
    /// Loads the weights. `ops` has room for `slots` sequences of `context` tokens.
    pub fn load(
        config: Config,
        context: usize,
        slots: usize,
        mut ops: O,
        checkpoint: &Checkpoint,
        progress: &dyn Fn(u8),
    ) -> std::result::Result<Self, ModelError> {
        let places = Weights::places(&config);
        let weights = places.make(&mut Loader {
            ops: &mut ops,
            checkpoint,
            progress,
            numbers: Weights::places(&config)
                .matrices()
                .map(MatrixAt::count)
                .sum(),
            done: 0,
        })?;
        Ok(Self::new(config, context, slots, ops, weights))
    }

    /// A decoder with weights that are loaded.
    pub(super) fn new(
        config: Config,
        context: usize,
        slots: usize,
        ops: O,
        weights: Weights<O::Matrix, O::Vector>,
    ) -> Self {
        Self {
            config,
            context,
            slots,
            ops,
            weights,
            rows: Rows::default(),
            likeliest: Vec::new(),
        }
    }

    fn check(&self, spans: &[Span<'_>]) -> Result<()> {
        for (n, span) in spans.iter().enumerate() {
            let end = span.position + span.tokens.len();
            if span.tokens.is_empty() || end > self.context || span.length < end {
                bail!(
                    "tokens {}..{end} of {} are no part of a context of {}",
                    span.position,
                    span.length,
                    self.context
                );
            }
            let taken = spans[..n].iter().any(|other| other.slot == span.slot);
            if span.slot >= self.slots || taken {
                bail!("the slot {} is not free", span.slot);
            }
            let vocab = self.config.vocab;
            if let Some(token) = span.tokens.iter().find(|&&token| token as usize >= vocab) {
                bail!("the token {token} is not one of {vocab}");
            }
        }
        Ok(())
    }

    fn turns(&self, spans: &[Span<'_>]) -> Turns {
        let rope = &self.config.rope;
        let mut turns = Turns {
            half: rope.turned / 2,
            cos: Vec::new(),
            sin: Vec::new(),
        };
        for span in spans {
            let (cos, sin) = rope.angles(span.position, span.tokens.len(), span.length);
            turns.cos.extend(cos);
            turns.sin.extend(sin);
        }
        turns
    }
}

/// The rows of a step that turn into logits: first those whose logits are wanted, and how many they are; then those of which the
/// likeliest token is.
fn wanted(spans: &[Span<'_>]) -> (Vec<usize>, usize) {
    let (mut logits, mut likeliest) = (Vec::new(), Vec::new());
    let mut first = 0;
    for span in spans {
        let end = first + span.tokens.len();
        match span.wanted {
            Wanted::None => {}
            Wanted::Likeliest => likeliest.push(end - 1),
            Wanted::Last => logits.push(end - 1),
            Wanted::All => logits.extend(first..end),
        }
        first = end;
    }
    let count = logits.len();
    logits.append(&mut likeliest);
    (logits, count)
}

impl<O: Ops> Network for Decoder<O> {
    fn forward(&mut self, spans: &[Span<'_>]) -> Result<Computed<'_>> {
        self.check(spans)?;
        let tokens: Vec<u32> = spans.iter().flat_map(|span| span.tokens).copied().collect();
        let turns = self.turns(spans);
        let eps = self.config.norm_eps as f32;
        let Self {
            ops,
            weights,
            rows: r,
            likeliest,
            config,
            ..
        } = self;
        ops.begin(spans, turns)?;
        ops.embed(&weights.embedding, &tokens, &mut r.x)?;
        for (n, (layer, window)) in weights.layers.iter().zip(&config.windows).enumerate() {
            ops.norm(&r.x, &layer.attention_norm, eps, &mut r.normed)?;
            let products = [
                (&layer.query, &mut r.query),
                (&layer.key, &mut r.key),
                (&layer.value, &mut r.value),
            ];
            let products = products.map(|(linear, y)| (&linear.weight, linear.bias.as_ref(), y));
            ops.linear(&r.normed, products)?;
            ops.rope(&mut r.query)?;
            ops.rope(&mut r.key)?;
            ops.attention(n, *window, &r.query, &r.key, &r.value, &mut r.mixed)?;
            let output = &layer.attention_output;
            ops.linear(
                &r.mixed,
                [(&output.weight, output.bias.as_ref(), &mut r.sum)],
            )?;
            ops.add(&mut r.x, &r.sum)?;

            ops.norm(&r.x, &layer.mlp_norm, eps, &mut r.normed)?;
            let products = [(&layer.gate, &mut r.gate), (&layer.up, &mut r.up)];
            let products = products.map(|(linear, y)| (&linear.weight, linear.bias.as_ref(), y));
            ops.linear(&r.normed, products)?;
            ops.gate(&mut r.gate, &r.up)?;
            let down = &layer.down;
            ops.linear(&r.gate, [(&down.weight, down.bias.as_ref(), &mut r.sum)])?;
            ops.add(&mut r.x, &r.sum)?;
        }
        let (wanted, count) = wanted(spans);
        if wanted.is_empty() {
            return Ok(Computed {
                logits: &[],
                likeliest: &[],
            });
        }
        ops.select(&r.x, &wanted, &mut r.sum)?;
        ops.norm(&r.sum, &weights.norm, eps, &mut r.normed)?;
        let output = weights.output.as_ref().unwrap_or(&weights.embedding);
        ops.linear(&r.normed, [(output, None, &mut r.logits)])?;
        *likeliest = ops.likeliest(&r.logits, count)?;
        Ok(Computed {
            likeliest,
            logits: ops.host(&r.logits, count)?,
        })
    }

    fn copy(&mut self, from: usize, to: usize, positions: usize) -> Result<()> {
        self.ops.copy(from, to, positions)
    }

    fn clear(&mut self, slot: usize, from: usize) -> Result<()> {
        self.ops.clear(slot, from)
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn context(&self) -> usize {
        self.context
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn memory(&self) -> Memory {
        self.ops.memory()
    }
}
