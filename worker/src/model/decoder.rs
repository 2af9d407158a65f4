//! The decoder: token ids in, logits out.
//!
//! Pre-norm transformer of the families of Llama: RMSNorm, grouped-query attention with rotary positions, SwiGLU. Touvron
//! et al., "LLaMA", section 2.2; Ainslie et al., "GQA"; Jiang et al., "Mistral 7B", section 2 for the window. The families
//! differ in what [`Config`] says. All weights are matrices (out, in), as in the checkpoints.

use candle_core::{D, Device, Result, Tensor};
use candle_nn::ops::{rms_norm, softmax_last_dim};

use super::checkpoint::Checkpoint;
use super::config::{Config, Family};
use super::error::ModelError;
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
    output: Linear,
    bytes: u64,
}

struct Layer {
    attention_norm: Tensor,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    mlp_norm: Tensor,
    gate: Linear,
    up: Linear,
    down: Linear,
    window: Option<usize>,
}

/// `y = x · weightᵀ + bias`
struct Linear {
    /// (out, in)
    weight: Tensor,
    /// (out)
    bias: Option<Tensor>,
}

/// Reads weights one after another and counts them.
struct Reader<'a> {
    checkpoint: Checkpoint,
    device: &'a Device,
    progress: &'a dyn Fn(u8),
    bytes: u64,
}

type Loaded<T> = std::result::Result<T, ModelError>;

impl Reader<'_> {
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Loaded<Tensor> {
        let tensor = self.checkpoint.tensor(name, shape, self.device)?;
        self.bytes += (tensor.elem_count() * tensor.dtype().size_in_bytes()) as u64;
        (self.progress)(self.checkpoint.percent());
        Ok(tensor)
    }

    fn norm(&mut self, name: &str, width: usize) -> Loaded<Tensor> {
        self.tensor(&format!("{name}.weight"), &[width])
    }

    fn linear(&mut self, name: &str, out: usize, width: usize, bias: bool) -> Loaded<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[out, width])?;
        let bias = bias
            .then(|| self.tensor(&format!("{name}.bias"), &[out]))
            .transpose()?;
        Ok(Linear { weight, bias })
    }

    /// One stored matrix that is several, one below the other.
    fn fused<const N: usize>(
        &mut self,
        name: &str,
        outs: [usize; N],
        width: usize,
    ) -> Loaded<[Linear; N]> {
        let whole = self.tensor(&format!("{name}.weight"), &[outs.iter().sum(), width])?;
        let mut parts = Vec::with_capacity(N);
        let mut first = 0;
        for out in outs {
            let weight = whole.narrow(0, first, out)?;
            parts.push(Linear { weight, bias: None });
            first += out;
        }
        parts
            .try_into()
            .map_err(|_| candle_core::Error::Msg("a part is missing".into()).into())
    }

    fn layer(&mut self, config: &Config, n: usize) -> Loaded<Layer> {
        let &Config {
            hidden,
            intermediate,
            qkv_bias,
            output_bias,
            mlp_bias,
            ..
        } = config;
        let (queries, keys) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );
        let name = |part: &str| format!("model.layers.{n}.{part}");
        let attention_norm = self.norm(&name("input_layernorm"), hidden)?;
        let [query, key, value] = if config.family == Family::Phi3 {
            self.fused(&name("self_attn.qkv_proj"), [queries, keys, keys], hidden)?
        } else {
            [
                self.linear(&name("self_attn.q_proj"), queries, hidden, qkv_bias)?,
                self.linear(&name("self_attn.k_proj"), keys, hidden, qkv_bias)?,
                self.linear(&name("self_attn.v_proj"), keys, hidden, qkv_bias)?,
            ]
        };
        let attention_output =
            self.linear(&name("self_attn.o_proj"), hidden, queries, output_bias)?;
        let mlp_norm = self.norm(&name("post_attention_layernorm"), hidden)?;
        let [gate, up] = if config.family == Family::Phi3 {
            self.fused(&name("mlp.gate_up_proj"), [intermediate; 2], hidden)?
        } else {
            [
                self.linear(&name("mlp.gate_proj"), intermediate, hidden, mlp_bias)?,
                self.linear(&name("mlp.up_proj"), intermediate, hidden, mlp_bias)?,
            ]
        };
        let down = self.linear(&name("mlp.down_proj"), hidden, intermediate, mlp_bias)?;
        let window = config.windows.get(n).copied().flatten();
        Ok(Layer {
            attention_norm,
            query,
            key,
            value,
            attention_output,
            mlp_norm,
            gate,
            up,
            down,
            window,
        })
    }
}

impl Linear {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.transpose(D::Minus2, D::Minus1)?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}

impl Decoder {
    /// Reads the weights. `context` is the most tokens that a sequence may hold; `progress` hears 0–100.
    pub fn load(
        config: Config,
        context: usize,
        checkpoint: Checkpoint,
        device: &Device,
        progress: &dyn Fn(u8),
    ) -> Loaded<Self> {
        let mut reader = Reader {
            checkpoint,
            device,
            progress,
            bytes: 0,
        };
        let embedding =
            reader.tensor("model.embed_tokens.weight", &[config.vocab, config.hidden])?;
        let mut layers = Vec::with_capacity(config.layers.min(1024));
        for n in 0..config.layers {
            layers.push(reader.layer(&config, n)?);
        }
        let norm = reader.norm("model.norm", config.hidden)?;
        let output = if config.tied {
            Linear {
                weight: embedding.clone(),
                bias: None,
            }
        } else {
            reader.linear("lm_head", config.vocab, config.hidden, false)?
        };
        Ok(Self {
            device: device.clone(),
            config,
            context,
            embedding,
            layers,
            norm,
            output,
            bytes: reader.bytes,
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

    /// A fresh sequence of a prompt of `prompt` tokens, for at most `limit` tokens, which the context bounds.
    pub fn sequence(&self, prompt: usize, limit: usize) -> Result<Sequence> {
        Sequence::new(&self.config, prompt, limit.min(self.context), &self.device)
    }

    /// Appends tokens to a sequence; returns the last layer's output for each, (tokens, hidden).
    pub fn forward(&self, tokens: &[u32], sequence: &mut Sequence) -> Result<Tensor> {
        let length = |position: usize| sequence.prompt().max(position);
        let (from, to) = (sequence.position(), sequence.position() + tokens.len());
        if from > 0 && self.config.rope.starts_again(length(from), length(to)) {
            let mut all = sequence.restart();
            all.extend_from_slice(tokens);
            return self.forward(&all, sequence)?.narrow(0, from, tokens.len());
        }
        let position = sequence.position();
        sequence.reserve(tokens.len())?;
        let mut x = self
            .embedding
            .index_select(&Tensor::new(tokens, &self.device)?, 0)?;
        let turns = self.turns(sequence, tokens.len())?;
        // Layers share what hides tokens, by their window.
        let mut masks: Vec<(Option<usize>, Option<Tensor>)> = Vec::new();
        for (layer, kv) in self.layers.iter().zip(&mut sequence.layers) {
            let known = masks.iter().position(|(window, _)| *window == layer.window);
            let at = known.unwrap_or(masks.len());
            if known.is_none() {
                masks.push((
                    layer.window,
                    self.mask(tokens.len(), position, layer.window)?,
                ));
            }
            x = (&x + self.attention(layer, &x, kv, position, &turns, masks[at].1.as_ref())?)?;
            x = (&x + self.mlp(layer, &x)?)?;
        }
        sequence.append(tokens);
        Ok(x)
    }

    /// Cosines and sines of the next tokens of a sequence, each (tokens, turned / 2).
    fn turns(&self, sequence: &Sequence, tokens: usize) -> Result<(Tensor, Tensor)> {
        let first = sequence.position();
        let length = sequence.prompt().max(first + tokens);
        let (cos, sin) = self.config.rope.angles(first, tokens, length);
        let shape = (tokens, self.config.rope.turned / 2);
        Ok((
            Tensor::from_vec(cos, shape, &self.device)?,
            Tensor::from_vec(sin, shape, &self.device)?,
        ))
    }

    /// Turns heads (heads, tokens, `head_dim`) by their positions.
    fn turned(&self, heads: &Tensor, (cos, sin): &(Tensor, Tensor)) -> Result<Tensor> {
        let (turned, head_dim) = (self.config.rope.turned, self.config.head_dim);
        let turn =
            |part: &Tensor| candle_nn::rotary_emb::rope(&part.unsqueeze(0)?, cos, sin)?.squeeze(0);
        if turned == head_dim {
            return turn(heads);
        }
        let front = turn(&heads.narrow(2, 0, turned)?.contiguous()?)?;
        Tensor::cat(&[front, heads.narrow(2, turned, head_dim - turned)?], 2)?.contiguous()
    }

    /// What comes next after each row of `hidden` (tokens, hidden): logits (tokens, vocab).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        self.output.forward(&self.normed(hidden, &self.norm)?)
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
        turns: &(Tensor, Tensor),
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
        let query = self.turned(&split(layer.query.forward(&x)?, heads)?, turns)?;
        let key = self.turned(&split(layer.key.forward(&x)?, kv_heads)?, turns)?;
        let value = split(layer.value.forward(&x)?, kv_heads)?;
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
        layer
            .attention_output
            .forward(&mixed.reshape((tokens, heads * head_dim))?)
    }

    fn mlp(&self, layer: &Layer, x: &Tensor) -> Result<Tensor> {
        let x = self.normed(x, &layer.mlp_norm)?;
        let gated = (layer.gate.forward(&x)?.silu()? * layer.up.forward(&x)?)?;
        layer.down.forward(&gated)
    }

    fn normed(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        rms_norm(&x.contiguous()?, weight, self.config.norm_eps as f32)
    }

    /// Hides later tokens, and those before the window: (tokens, position + tokens) of 0 and -∞; none when nothing is hidden.
    fn mask(
        &self,
        tokens: usize,
        position: usize,
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
