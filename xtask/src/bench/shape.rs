//! The shapes that are measured: those of two published models.

/// What a decoder is made of.
#[derive(Debug, PartialEq)]
pub struct Shape {
    /// As `--shape` and the results name it.
    pub name: &'static str,
    /// The published model of this shape.
    pub title: &'static str,
    /// As `config.json` names the family.
    pub family: &'static str,
    pub architecture: &'static str,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub intermediate: usize,
    pub vocab: usize,
    pub context: usize,
    pub theta: f32,
    pub eps: f32,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Queries, keys and values have a bias.
    pub bias: bool,
}

pub const QWEN: Shape = Shape {
    name: "qwen",
    title: "Qwen2.5-0.5B",
    family: "qwen2",
    architecture: "Qwen2ForCausalLM",
    hidden: 896,
    layers: 24,
    heads: 14,
    kv_heads: 2,
    intermediate: 4864,
    vocab: 151_936,
    context: 32_768,
    theta: 1e6,
    eps: 1e-6,
    tied: true,
    bias: true,
};

pub const TINYLLAMA: Shape = Shape {
    name: "tinyllama",
    title: "TinyLlama-1.1B",
    family: "llama",
    architecture: "LlamaForCausalLM",
    hidden: 2048,
    layers: 22,
    heads: 32,
    kv_heads: 4,
    intermediate: 5632,
    vocab: 32_000,
    context: 2048,
    theta: 1e4,
    eps: 1e-5,
    tied: false,
    bias: false,
};

/// One tensor, by its names in both formats.
#[derive(Debug, PartialEq)]
pub struct Tensor {
    /// In a Hugging Face checkpoint.
    pub name: String,
    /// In a GGUF file.
    pub gguf: String,
    /// Outputs, then inputs; a vector has one size.
    pub sizes: Vec<usize>,
    /// A vector of ones.
    pub norm: bool,
}

impl Tensor {
    pub fn count(&self) -> usize {
        self.sizes.iter().product()
    }
}

impl Shape {
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    /// Every tensor, the large ones too, in the order of the layers.
    pub fn tensors(&self) -> Vec<Tensor> {
        let mut all = Vec::new();
        let mut add = |name: String, gguf: String, sizes: &[usize]| {
            all.push(Tensor {
                norm: name.ends_with("norm.weight"),
                name,
                gguf,
                sizes: sizes.to_vec(),
            });
        };
        let (hidden, keys) = (self.hidden, self.kv_heads * self.head_dim());
        let tokens = [self.vocab, hidden];
        add(
            "model.embed_tokens.weight".into(),
            "token_embd.weight".into(),
            &tokens,
        );
        for layer in 0..self.layers {
            let mut part = |name: &str, gguf: &str, sizes: &[usize]| {
                add(
                    format!("model.layers.{layer}.{name}"),
                    format!("blk.{layer}.{gguf}"),
                    sizes,
                );
            };
            part("input_layernorm.weight", "attn_norm.weight", &[hidden]);
            for (letter, outputs) in [("q", hidden), ("k", keys), ("v", keys)] {
                let name = format!("self_attn.{letter}_proj");
                let gguf = format!("attn_{letter}");
                part(
                    &format!("{name}.weight"),
                    &format!("{gguf}.weight"),
                    &[outputs, hidden],
                );
                if self.bias {
                    part(&format!("{name}.bias"), &format!("{gguf}.bias"), &[outputs]);
                }
            }
            part(
                "self_attn.o_proj.weight",
                "attn_output.weight",
                &[hidden, hidden],
            );
            part(
                "post_attention_layernorm.weight",
                "ffn_norm.weight",
                &[hidden],
            );
            let wide = self.intermediate;
            part("mlp.gate_proj.weight", "ffn_gate.weight", &[wide, hidden]);
            part("mlp.up_proj.weight", "ffn_up.weight", &[wide, hidden]);
            part("mlp.down_proj.weight", "ffn_down.weight", &[hidden, wide]);
        }
        add(
            "model.norm.weight".into(),
            "output_norm.weight".into(),
            &[hidden],
        );
        if !self.tied {
            add("lm_head.weight".into(), "output.weight".into(), &tokens);
        }
        all
    }

    /// Numbers of the matrices that every token reads: all of them, but of an embedding that is not the output matrix only
    /// a row.
    pub fn numbers_per_token(&self) -> u64 {
        let read = |tensor: &&Tensor| {
            let embedding = tensor.name.contains("embed_tokens") && !self.tied;
            tensor.sizes.len() == 2 && !embedding
        };
        let counts = self.tensors();
        let counts = counts
            .iter()
            .filter(read)
            .map(|tensor| tensor.count() as u64);
        counts.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(shape: &Shape) -> usize {
        shape.tensors().iter().map(Tensor::count).sum()
    }

    #[test]
    fn the_shapes_have_as_many_parameters_as_the_published_models() {
        assert_eq!(parameters(&QWEN), 494_032_768);
        assert_eq!(parameters(&TINYLLAMA), 1_100_048_384);
    }

    #[test]
    fn a_token_reads_the_embedding_only_where_it_is_the_output_matrix() {
        let vectors = |shape: &Shape| -> usize {
            let tensors = shape.tensors();
            let vectors = tensors.iter().filter(|tensor| tensor.sizes.len() == 1);
            vectors.map(Tensor::count).sum()
        };
        let all = |shape| (parameters(shape) - vectors(shape)) as u64;
        assert_eq!(QWEN.numbers_per_token(), all(&QWEN));
        assert_eq!(
            TINYLLAMA.numbers_per_token(),
            all(&TINYLLAMA) - 32_000 * 2048
        );
    }
}
