//! The decoder: token ids in, logits out.
//!
//! Pre-norm transformer of the Llama family: RMSNorm, grouped-query attention with rotary positions, SwiGLU. Touvron et
//! al., "LLaMA", section 2.2; Ainslie et al., "GQA". All weights are matrices (out, in), as in the checkpoints.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};

use super::checkpoint::Checkpoint;
use super::config::Config;
use super::error::ModelError;
use super::rope::Rope;
use super::sequence::{KeyValues, Sequence};

/// The weights of a model on their device. It keeps nothing of any request: see [`Sequence`].
pub struct Decoder {
    config: Config,
    context: usize,
    device: Device,
    embedding: Tensor,
    layers: Vec<Layer>,
    norm: Tensor,
    /// (vocab, hidden)
    output: Tensor,
    rope: Rope,
    bytes: u64,
}

struct Layer {
    attention_norm: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_output: Tensor,
    mlp_norm: Tensor,
    gate: Tensor,
    up: Tensor,
    down: Tensor,
}

impl Decoder {
    /// Reads the weights. `context` is the most tokens that a sequence may hold; `progress` hears 0–100.
    pub fn load(
        config: Config,
        context: usize,
        mut checkpoint: Checkpoint,
        device: &Device,
        progress: &dyn Fn(u8),
    ) -> std::result::Result<Self, ModelError> {
        let mut bytes = 0;
        let Config {
            vocab,
            hidden,
            intermediate,
            ..
        } = config;
        let (queries, keys) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let mut read = |name: &str, shape: &[usize]| {
            let tensor = checkpoint.tensor(&format!("{name}.weight"), shape, device)?;
            bytes += (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
            progress(checkpoint.percent());
            Ok::<_, ModelError>(tensor)
        };
        let embedding = read("model.embed_tokens", &[vocab, hidden])?;
        let mut layers = Vec::with_capacity(config.layers.min(1024));
        for n in 0..config.layers {
            let mut part =
                |name: &str, shape: &[usize]| read(&format!("model.layers.{n}.{name}"), shape);
            layers.push(Layer {
                attention_norm: part("input_layernorm", &[hidden])?,
                query: part("self_attn.q_proj", &[queries, hidden])?,
                key: part("self_attn.k_proj", &[keys, hidden])?,
                value: part("self_attn.v_proj", &[keys, hidden])?,
                attention_output: part("self_attn.o_proj", &[hidden, queries])?,
                mlp_norm: part("post_attention_layernorm", &[hidden])?,
                gate: part("mlp.gate_proj", &[intermediate, hidden])?,
                up: part("mlp.up_proj", &[intermediate, hidden])?,
                down: part("mlp.down_proj", &[hidden, intermediate])?,
            });
        }
        let norm = read("model.norm", &[hidden])?;
        let output = if config.tied {
            embedding.clone()
        } else {
            read("lm_head", &[vocab, hidden])?
        };
        Ok(Self {
            rope: Rope::new(&config, context, device)?,
            device: device.clone(),
            config,
            context,
            embedding,
            layers,
            norm,
            output,
            bytes,
        })
    }

    /// Most tokens that a sequence may hold.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Bytes of the weights as kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn device(&self) -> &Device {
        &self.device
    }

    /// A fresh sequence for at most `limit` tokens, which the context bounds.
    pub fn sequence(&self, limit: usize) -> Result<Sequence> {
        Sequence::new(&self.config, limit.min(self.context), &self.device)
    }

    /// Appends tokens to a sequence; returns the last layer's output for each, (tokens, hidden).
    pub fn forward(&self, tokens: &[u32], sequence: &mut Sequence) -> Result<Tensor> {
        let position = sequence.position();
        sequence.reserve(tokens.len())?;
        let mask = self.mask(tokens.len(), position)?;
        let mut x = self
            .embedding
            .index_select(&Tensor::new(tokens, &self.device)?, 0)?;
        for (layer, kv) in self.layers.iter().zip(&mut sequence.layers) {
            x = (&x + self.attention(layer, &x, kv, position, mask.as_ref())?)?;
            x = (&x + self.mlp(layer, &x)?)?;
        }
        sequence.advance(tokens.len());
        Ok(x)
    }

    /// What comes next after each row of `hidden` (tokens, hidden): logits (tokens, vocab).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        linear(&self.normed(hidden, &self.norm)?, &self.output)
    }

    /// What comes next after the last row of `hidden`: one logit for each token of the vocabulary.
    pub fn last_logits(&self, hidden: &Tensor) -> Result<Vec<f32>> {
        let last = hidden.narrow(0, hidden.dim(0)? - 1, 1)?;
        self.logits(&last)?.squeeze(0)?.to_vec1()
    }

    fn attention(
        &self,
        layer: &Layer,
        x: &Tensor,
        kv: &mut KeyValues,
        position: usize,
        mask: Option<&Tensor>,
    ) -> Result<Tensor> {
        let Config {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.config;
        let tokens = x.dim(0)?;
        let x = self.normed(x, &layer.attention_norm)?;
        // (tokens, heads * head_dim) → (heads, tokens, head_dim)
        let split = |x: Tensor, heads| {
            x.reshape((tokens, heads, head_dim))?
                .transpose(0, 1)?
                .contiguous()
        };
        let query = self
            .rope
            .apply(&split(linear(&x, &layer.query)?, heads)?, position)?;
        let key = self
            .rope
            .apply(&split(linear(&x, &layer.key)?, kv_heads)?, position)?;
        let value = split(linear(&x, &layer.value)?, kv_heads)?;
        let (keys, values) = kv.append(&key, &value, position)?;

        // The queries that share a head of keys lie side by side, so they count as more rows of one product and the keys
        // are never copied.
        let rows = heads / kv_heads * tokens;
        let query = (query * (head_dim as f64).powf(-0.5))?.reshape((kv_heads, rows, head_dim))?;
        let scores = query.matmul(&keys.transpose(1, 2)?)?;
        let scores = match mask {
            Some(mask) => {
                let by_head = scores.reshape((heads, tokens, position + tokens))?;
                by_head.broadcast_add(mask)?.reshape(scores.shape())?
            }
            None => scores,
        };
        let mixed = softmax_last_dim(&scores)?.matmul(&values)?;
        let mixed = mixed.reshape((heads, tokens, head_dim))?.transpose(0, 1)?;
        linear(
            &mixed.reshape((tokens, heads * head_dim))?,
            &layer.attention_output,
        )
    }

    fn mlp(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let x = self.normed(x, &layer.mlp_norm)?;
        let gated = (linear(&x, &layer.gate)?.silu()? * linear(&x, &layer.up)?)?;
        linear(&gated, &layer.down)
    }

    fn normed(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        rms_norm(&x.contiguous()?, weight, self.config.norm_eps as f32)
    }

    /// Hides later tokens from earlier ones: (tokens, position + tokens) of 0 and -∞; none for a single token.
    fn mask(&self, tokens: usize, position: usize) -> Result<Option<Tensor>> {
        if tokens == 1 {
            return Ok(None);
        }
        let total = position + tokens;
        let row = |token: usize| {
            (0..total).map(move |at| {
                if at <= position + token {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            })
        };
        let mask: Vec<f32> = (0..tokens).flat_map(row).collect();
        Tensor::from_vec(mask, (tokens, total), &self.device).map(Some)
    }
}

/// `x` (tokens, in) times the transpose of `weight` (out, in).
fn linear(x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.transpose(D::Minus2, D::Minus1)?)
}
