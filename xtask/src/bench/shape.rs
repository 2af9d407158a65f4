//! The shapes that are measured: those of published models.

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
    /// Queries, keys and values are one matrix, and so are gate and up.
    pub fused: bool,
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
    fused: false,
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
    fused: false,
};

pub const PHI3: Shape = Shape {
    name: "phi3",
    title: "Phi-3-mini-4k",
    family: "phi3",
    architecture: "Phi3ForCausalLM",
    hidden: 3072,
    layers: 32,
    heads: 32,
    kv_heads: 32,
    intermediate: 8192,
    vocab: 32_064,
    context: 4096,
    theta: 1e4,
    eps: 1e-5,
    tied: false,
    bias: false,
    fused: true,
};

pub const MISTRAL: Shape = Shape {
    name: "mistral",
    title: "Mistral-7B",
    family: "mistral",
    architecture: "MistralForCausalLM",
    hidden: 4096,
    layers: 32,
    heads: 32,
    kv_heads: 8,
    intermediate: 14_336,
    vocab: 32_768,
    context: 32_768,
    theta: 1e6,
    eps: 1e-5,
    tied: false,
    bias: false,
    fused: false,
};

impl Shape {
    pub fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }
}
