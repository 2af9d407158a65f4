//! The sizes of a decoder, and what follows from them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::MOST_ROWS;
use super::kept::{Kept, Kv, matrix};
use crate::device::Backend;

/// The sizes of a decoder of the families of Llama.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Shape {
    pub layers: u32,
    pub hidden: u32,
    pub intermediate: u32,
    /// Heads of the queries.
    pub heads: u32,
    /// Heads of keys and values.
    pub kv_heads: u32,
    pub head_dim: u32,
    /// Rows of the embedding.
    pub vocab: u32,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Numbers of the biases of a layer.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub biases: u32,
    /// Positions that a worker has which is not told how many.
    pub context: u32,
    /// Bytes of the weights on a CPU that keeps each as the file has it, where the head of the file tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_stored: Option<u64>,
    /// Bytes of the matrices on a GPU that keeps each as the file has it, those of the vocabulary left out, where the head of the
    /// file tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrices_as_stored: Option<u64>,
    /// The embedding of a file of which that is known is f32: then so are keys and values, and all that is not in blocks on a GPU.
    #[serde(default, skip_serializing_if = "is_false")]
    pub is_f32: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(is: &bool) -> bool {
    !is
}

/// Positions that a scaling reaches, of a model whose file names `context`.
pub(crate) fn reach(context: u32, kind: &str, factor: Option<f64>, original: Option<u32>) -> u32 {
    let original = original.unwrap_or(context);
    let from = match kind {
        "linear" | "yarn" => original,
        "dynamic" => context,
        _ => return context,
    };
    let reached = f64::from(from) * factor.unwrap_or(1.0);
    context.max(reached as u32)
}

impl Shape {
    /// Reads it from the text of `config.json`; none where a worker could not serve such a model.
    pub fn from_config(text: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Config {
            model_type: String,
            vocab_size: u32,
            hidden_size: u32,
            intermediate_size: u32,
            num_hidden_layers: u32,
            num_attention_heads: u32,
            num_key_value_heads: Option<u32>,
            head_dim: Option<u32>,
            max_position_embeddings: u32,
            #[serde(default)]
            tie_word_embeddings: bool,
            #[serde(default)]
            attention_bias: bool,
            #[serde(default)]
            mlp_bias: bool,
            original_max_position_embeddings: Option<u32>,
            rope_scaling: Option<Positions>,
            rope_parameters: Option<Positions>,
        }
        #[derive(Deserialize)]
        struct Positions {
            #[serde(alias = "type")]
            rope_type: Option<String>,
            factor: Option<f64>,
            original_max_position_embeddings: Option<u32>,
        }
        let config: Config = serde_json::from_str(text).ok()?;
        let heads = config.num_attention_heads;
        let kv_heads = config.num_key_value_heads.unwrap_or(heads);
        let even = config.hidden_size.checked_div(heads)?;
        let head_dim = config.head_dim.unwrap_or(even);
        let (queries, keys) = (
            heads.checked_mul(head_dim)?,
            kv_heads.checked_mul(head_dim)?,
        );
        let attention = queries.checked_add(keys.checked_mul(2)?)?;
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let biases = match config.model_type.as_str() {
            "llama" => {
                let of_attention = attention.checked_add(hidden)?;
                let of_mlp = intermediate.checked_mul(2)?.checked_add(hidden)?;
                u32::from(config.attention_bias) * of_attention
                    + u32::from(config.mlp_bias) * of_mlp
            }
            "qwen2" => attention,
            "mistral" | "phi3" => 0,
            _ => return None,
        };
        let named = config.max_position_embeddings;
        let positions = config.rope_parameters.or(config.rope_scaling);
        let context = positions.map_or(named, |positions| {
            let outer = config.original_max_position_embeddings;
            let original = outer.or(positions.original_max_position_embeddings);
            let kind = positions.rope_type.as_deref().unwrap_or_default();
            reach(named, kind, positions.factor, original)
        });
        Some(Self {
            layers: config.num_hidden_layers,
            hidden,
            intermediate,
            heads,
            kv_heads,
            head_dim,
            vocab: config.vocab_size,
            tied: config.tie_word_embeddings,
            biases,
            context,
            as_stored: None,
            matrices_as_stored: None,
            is_f32: false,
        })
    }

    /// Rows and columns of the matrices of a layer.
    fn matrices(&self) -> [[u64; 2]; 7] {
        let [hidden, intermediate] = [self.hidden, self.intermediate].map(u64::from);
        let [queries, keys] = self.widths();
        [
            [queries, hidden],
            [keys, hidden],
            [keys, hidden],
            [hidden, queries],
            [intermediate, hidden],
            [intermediate, hidden],
            [hidden, intermediate],
        ]
    }

    /// Numbers of a row of queries, and of one of keys.
    fn widths(&self) -> [u64; 2] {
        [self.heads, self.kv_heads].map(|heads| u64::from(heads) * u64::from(self.head_dim))
    }

    /// How many numbers the norms and biases are.
    pub fn vectors(&self) -> u64 {
        let layer = 2 * u64::from(self.hidden) + u64::from(self.biases);
        u64::from(self.layers)
            .saturating_mul(layer)
            .saturating_add(u64::from(self.hidden))
    }

    /// Adds what a matrix comes to over all of them, those of the vocabulary told apart, and the vectors.
    fn sum(&self, vectors: u64, of: impl Fn([u64; 2], bool) -> Option<u64>) -> Option<u64> {
        let mut layer = self.matrices().into_iter();
        let layer = layer.try_fold(0, |sum: u64, size| sum.checked_add(of(size, false)?))?;
        let vocabulary = of([self.vocab.into(), self.hidden.into()], true)?;
        layer
            .checked_mul(self.layers.into())?
            .checked_add(vocabulary.checked_mul(if self.tied { 1 } else { 2 })?)?
            .checked_add(vectors)
    }

    /// Whether weights in files of so many bytes are numbers of 4: of 2 they are smaller, but for the head of a file.
    pub(super) fn stores_f32(&self, files: u64) -> bool {
        if self.matrices_as_stored.is_some() {
            return self.is_f32;
        }
        let numbers = self.sum(self.vectors(), |[rows, columns], _| {
            rows.checked_mul(columns)
        });
        numbers.is_none_or(|numbers| files / 21 > numbers / 10)
    }

    /// Bytes of the weights, the matrices and those of the vocabulary kept so; none where no machine has as many.
    pub fn weights(&self, backend: Backend, matrices: Kept, vocabulary: Kept) -> Option<u64> {
        let kept = |is_vocabulary| if is_vocabulary { vocabulary } else { matrices };
        match backend {
            Backend::Cpu => self.sum(self.vectors().checked_mul(4)?, |size, is_vocabulary| {
                matrix(kept(is_vocabulary), size)
            }),
            Backend::Cuda | Backend::Metal => {
                let number = vocabulary.number();
                self.sum(
                    self.vectors().checked_mul(number)?,
                    |[rows, columns], is_vocabulary| {
                        let numbers = rows.checked_mul(columns)?;
                        let blocks = matrices.block().filter(|_| !is_vocabulary);
                        match blocks {
                            Some(bytes) => numbers.div_ceil(32).checked_mul(bytes),
                            None => numbers.checked_mul(number),
                        }
                    },
                )
            }
        }
    }

    /// Bytes of the weights of a file in blocks, the vocabulary on a GPU kept so.
    pub fn weights_as_stored(&self, backend: Backend, vocabulary: Kept) -> Option<u64> {
        match backend {
            Backend::Cpu => self.as_stored,
            Backend::Cuda | Backend::Metal => {
                let matrix = u64::from(self.vocab).checked_mul(self.hidden.into())?;
                let numbers = matrix.checked_mul(if self.tied { 1 } else { 2 })?;
                let numbers = numbers.checked_add(self.vectors())?;
                let numbers = numbers.checked_mul(vocabulary.number())?;
                // What a CPU keeps is more than the blocks of the file: too much is counted rather than too little.
                let matrices = self.matrices_as_stored.or(self.as_stored)?;
                matrices.checked_add(numbers)
            }
        }
    }

    /// Bytes of the keys and values of all slots, beside a vocabulary that is kept so.
    pub fn kv(&self, backend: Backend, vocabulary: Kept, slots: u32, context: u32) -> Option<u64> {
        let kv = Kv {
            kept: match vocabulary {
                Kept::F32 => Kept::F32,
                _ => Kept::Half,
            },
            slots: slots.into(),
            layers: self.layers.into(),
            heads: self.kv_heads.into(),
            head_dim: self.head_dim.into(),
            positions: context.into(),
        };
        match backend {
            Backend::Cpu => kv.bytes(),
            Backend::Cuda | Backend::Metal => [2, kv.slots, kv.layers, kv.heads, kv.head_dim]
                .into_iter()
                .try_fold(kv.positions * kv.kept.number(), u64::checked_mul),
        }
    }

    /// Bytes of the rows of the largest step, of its logits and its scores.
    pub fn scratch(&self, backend: Backend, slots: u32, context: u32, threads: u32) -> u64 {
        let [hidden, intermediate, slots, context, vocab, heads] = [
            self.hidden,
            self.intermediate,
            slots,
            context,
            self.vocab,
            self.heads,
        ]
        .map(u128::from);
        let [queries, keys] = self.widths().map(u128::from);
        let most_rows = u128::from(MOST_ROWS);
        let row = 3 * hidden + 2 * (queries + keys) + 2 * intermediate;
        let rows = most_rows + slots;
        let step = 4 * (rows * row + slots * vocab);
        let work = match backend {
            Backend::Cpu => {
                let inputs = rows * hidden.max(intermediate).max(queries);
                cpu_scratch(inputs, context, threads.into())
            }
            // Scores, and their softmax.
            Backend::Cuda | Backend::Metal => 2 * 4 * rows * context * heads,
        };
        u64::try_from(step + work).unwrap_or(u64::MAX)
    }
}

/// Bytes that the kernels of a CPU work in: `inputs` numbers by groups of 32 and by twos, and for each thread the scores
/// of 8 queries over whole groups of positions.
pub fn cpu_scratch(inputs: u128, positions: u128, threads: u128) -> u128 {
    let groups = inputs.div_ceil(32) * (32 + 8);
    let pairs = inputs.div_ceil(2) * 4;
    groups + pairs + threads * 8 * positions.next_multiple_of(32) * 4
}
