//! What a decoder is made of: written once, filled with the places of its parts in a checkpoint, then with the parts.

use std::ops::Range;

use super::config::{Config, Family};

/// The parts of a decoder: matrices `M`, (out, in), and vectors `V`.
pub struct Weights<M, V> {
    /// (vocab, hidden)
    pub embedding: M,
    pub layers: Vec<Layer<M, V>>,
    pub norm: V,
    /// (vocab, hidden); the embedding when none.
    pub output: Option<M>,
}

/// One layer: attention, then a gated feed-forward network.
pub struct Layer<M, V> {
    pub attention_norm: V,
    pub query: Linear<M, V>,
    pub key: Linear<M, V>,
    pub value: Linear<M, V>,
    pub attention_output: Linear<M, V>,
    pub mlp_norm: V,
    pub gate: Linear<M, V>,
    pub up: Linear<M, V>,
    pub down: Linear<M, V>,
}

/// `y = x · weightᵀ + bias`
pub struct Linear<M, V> {
    /// (out, in)
    pub weight: M,
    /// (out)
    pub bias: Option<V>,
}

/// Where a matrix is in a checkpoint: some rows of a tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatrixAt {
    pub name: String,
    /// Of the whole tensor.
    pub shape: [usize; 2],
    pub rows: Range<usize>,
    /// It turns tokens into rows or rows into tokens, where errors weigh most.
    pub is_vocabulary: bool,
}

impl MatrixAt {
    fn whole(name: String, shape: [usize; 2]) -> Self {
        Self {
            name,
            shape,
            rows: 0..shape[0],
            is_vocabulary: false,
        }
    }

    /// Rows and columns of this part.
    pub fn size(&self) -> (usize, usize) {
        (self.rows.len(), self.shape[1])
    }

    /// How many numbers it has.
    pub fn count(&self) -> usize {
        self.rows.len() * self.shape[1]
    }
}

/// Where a vector is in a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorAt {
    pub name: String,
    pub length: usize,
}

type At = Linear<MatrixAt, VectorAt>;

impl Weights<MatrixAt, VectorAt> {
    /// The places of all parts, by the names of Hugging Face.
    pub fn places(config: &Config) -> Self {
        let vocabulary = |name: &str| MatrixAt {
            is_vocabulary: true,
            ..MatrixAt::whole(name.to_owned(), [config.vocab, config.hidden])
        };
        Self {
            embedding: vocabulary("model.embed_tokens.weight"),
            layers: (0..config.layers).map(|n| layer(config, n)).collect(),
            norm: norm("model.norm", config),
            output: (!config.tied).then(|| vocabulary("lm_head.weight")),
        }
    }

    pub fn matrices(&self) -> impl Iterator<Item = &MatrixAt> {
        let layers = self.layers.iter().flat_map(|layer| {
            layer
                .linears()
                .into_iter()
                .map(|linear: &At| &linear.weight)
        });
        std::iter::once(&self.embedding)
            .chain(layers)
            .chain(&self.output)
    }
}

fn norm(name: &str, config: &Config) -> VectorAt {
    VectorAt {
        name: format!("{name}.weight"),
        length: config.hidden,
    }
}

fn linear(name: &str, shape: [usize; 2], bias: bool) -> At {
    Linear {
        weight: MatrixAt::whole(format!("{name}.weight"), shape),
        bias: bias.then(|| VectorAt {
            name: format!("{name}.bias"),
            length: shape[0],
        }),
    }
}

/// One stored matrix that is several, one below the other.
fn fused<const N: usize>(name: &str, outs: [usize; N], width: usize) -> [At; N] {
    let whole = MatrixAt::whole(format!("{name}.weight"), [outs.iter().sum(), width]);
    let mut first = 0;
    outs.map(|out| {
        let rows = first..first + out;
        first += out;
        let weight = MatrixAt {
            rows,
            ..whole.clone()
        };
        Linear { weight, bias: None }
    })
}

fn layer(config: &Config, n: usize) -> Layer<MatrixAt, VectorAt> {
    let &Config {
        hidden,
        intermediate,
        qkv_bias,
        output_bias,
        mlp_bias,
        ..
    } = config;
    let queries = config.heads * config.head_dim;
    let keys = config.kv_heads * config.head_dim;
    let name = |part: &str| format!("model.layers.{n}.{part}");
    let is_fused = config.family == Family::Phi3;
    let [query, key, value] = if is_fused {
        fused(&name("self_attn.qkv_proj"), [queries, keys, keys], hidden)
    } else {
        [
            linear(&name("self_attn.q_proj"), [queries, hidden], qkv_bias),
            linear(&name("self_attn.k_proj"), [keys, hidden], qkv_bias),
            linear(&name("self_attn.v_proj"), [keys, hidden], qkv_bias),
        ]
    };
    let [gate, up] = if is_fused {
        fused(&name("mlp.gate_up_proj"), [intermediate; 2], hidden)
    } else {
        ["gate", "up"].map(|part| {
            let name = name(&format!("mlp.{part}_proj"));
            linear(&name, [intermediate, hidden], mlp_bias)
        })
    };
    Layer {
        attention_norm: norm(&name("input_layernorm"), config),
        query,
        key,
        value,
        attention_output: linear(&name("self_attn.o_proj"), [hidden, queries], output_bias),
        mlp_norm: norm(&name("post_attention_layernorm"), config),
        gate,
        up,
        down: linear(&name("mlp.down_proj"), [hidden, intermediate], mlp_bias),
    }
}

impl<M, V> Layer<M, V> {
    fn linears(&self) -> [&Linear<M, V>; 7] {
        [
            &self.query,
            &self.key,
            &self.value,
            &self.attention_output,
            &self.gate,
            &self.up,
            &self.down,
        ]
    }
}

/// Makes the parts of a decoder out of others, in the order in which they are computed.
pub trait Make<M, V> {
    type Matrix;
    type Vector;
    type Error;

    /// Matrices that the same rows are multiplied with.
    fn matrices<const N: usize>(&mut self, from: [M; N]) -> Result<[Self::Matrix; N], Self::Error>;

    fn vector(&mut self, from: V) -> Result<Self::Vector, Self::Error>;
}

/// What [`Make`] makes of `Of`.
type Made<K, M, V, Of> = Result<Of, <K as Make<M, V>>::Error>;
type MadeLinear<K, M, V> = Linear<<K as Make<M, V>>::Matrix, <K as Make<M, V>>::Vector>;

/// Makes each of several, or none.
pub fn each<A, B, E, const N: usize>(
    from: [A; N],
    make: impl FnMut(A) -> Result<B, E>,
) -> Result<[B; N], E> {
    let made: Vec<B> = from.into_iter().map(make).collect::<Result<_, _>>()?;
    Ok(as_many(made))
}

/// A list of known length.
pub fn as_many<T, const N: usize>(list: Vec<T>) -> [T; N] {
    let length = list.len();
    let array = list.try_into();
    array.unwrap_or_else(|_| unreachable!("{length} of {N}"))
}

fn one<K: Make<M, V>, M, V>(from: M, by: &mut K) -> Made<K, M, V, K::Matrix> {
    let [made] = by.matrices([from])?;
    Ok(made)
}

fn linears<K: Make<M, V>, M, V, const N: usize>(
    from: [Linear<M, V>; N],
    by: &mut K,
) -> Made<K, M, V, [MadeLinear<K, M, V>; N]> {
    let mut biases = Vec::with_capacity(N);
    let weights = by.matrices(from.map(|linear| {
        biases.push(linear.bias);
        linear.weight
    }))?;
    let mut biases = biases.into_iter();
    each(weights, |weight| {
        let bias = biases.next().flatten();
        let bias = bias.map(|bias| by.vector(bias)).transpose()?;
        Ok(Linear { weight, bias })
    })
}

impl<M, V> Weights<M, V> {
    pub fn make<K: Make<M, V>>(self, by: &mut K) -> Made<K, M, V, Weights<K::Matrix, K::Vector>> {
        Ok(Weights {
            embedding: one(self.embedding, by)?,
            layers: self
                .layers
                .into_iter()
                .map(|layer| layer.make(by))
                .collect::<Result<_, _>>()?,
            norm: by.vector(self.norm)?,
            output: self.output.map(|output| one(output, by)).transpose()?,
        })
    }
}

impl<M, V> Layer<M, V> {
    fn make<K: Make<M, V>>(self, by: &mut K) -> Made<K, M, V, Layer<K::Matrix, K::Vector>> {
        let attention_norm = by.vector(self.attention_norm)?;
        let [query, key, value] = linears([self.query, self.key, self.value], by)?;
        let [attention_output] = linears([self.attention_output], by)?;
        let mlp_norm = by.vector(self.mlp_norm)?;
        let [gate, up] = linears([self.gate, self.up], by)?;
        let [down] = linears([self.down], by)?;
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
        })
    }
}
