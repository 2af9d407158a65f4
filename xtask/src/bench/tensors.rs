//! What the weights of a shape are.

use super::shape::Shape;

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
        let (tokens, wide) = ([self.vocab, hidden], self.intermediate);
        let (qkv, gates) = if self.fused {
            (
                vec![("qkv", hidden + 2 * keys)],
                vec![("gate_up", "up", 2 * wide)],
            )
        } else {
            (
                vec![("q", hidden), ("k", keys), ("v", keys)],
                vec![("gate", "gate", wide), ("up", "up", wide)],
            )
        };
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
            for (letters, outputs) in &qkv {
                let name = format!("self_attn.{letters}_proj");
                let gguf = format!("attn_{letters}");
                part(
                    &format!("{name}.weight"),
                    &format!("{gguf}.weight"),
                    &[*outputs, hidden],
                );
                if self.bias {
                    part(
                        &format!("{name}.bias"),
                        &format!("{gguf}.bias"),
                        &[*outputs],
                    );
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
            for (name, gguf, outputs) in &gates {
                part(
                    &format!("mlp.{name}_proj.weight"),
                    &format!("ffn_{gguf}.weight"),
                    &[*outputs, hidden],
                );
            }
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
    use crate::bench::shape::{MISTRAL, PHI3, QWEN, TINYLLAMA};

    fn parameters(shape: &Shape) -> usize {
        shape.tensors().iter().map(Tensor::count).sum()
    }

    #[test]
    fn the_shapes_have_as_many_parameters_as_the_published_models() {
        assert_eq!(parameters(&QWEN), 494_032_768);
        assert_eq!(parameters(&TINYLLAMA), 1_100_048_384);
        assert_eq!(parameters(&PHI3), 3_821_079_552);
        assert_eq!(parameters(&MISTRAL), 7_248_023_552);
    }

    #[test]
    fn what_is_fused_has_the_rows_of_its_parts() {
        let sizes = |shape: &Shape, part: &str| {
            let name = format!("model.layers.31.{part}.weight");
            let tensors = shape.tensors();
            let found = tensors.iter().find(|tensor| tensor.name == name);
            found.map(|tensor| tensor.sizes.clone())
        };
        let fused = [
            ("self_attn.qkv_proj", [9216, 3072]),
            ("mlp.gate_up_proj", [16_384, 3072]),
        ];
        for (part, size) in fused {
            assert_eq!(sizes(&PHI3, part).as_deref(), Some(&size[..]), "{part}");
            assert_eq!(sizes(&MISTRAL, part), None, "{part}");
        }
        let parts = [
            "self_attn.q_proj",
            "self_attn.k_proj",
            "mlp.gate_proj",
            "mlp.up_proj",
        ];
        for part in parts {
            assert_eq!(sizes(&PHI3, part), None, "{part}");
            assert!(sizes(&MISTRAL, part).is_some(), "{part}");
        }
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
