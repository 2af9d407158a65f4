//! Names of tensors: GGUF's to those of Hugging Face checkpoints.
//!
//! Source: `gguf-py/gguf/tensor_mapping.py` in llama.cpp, whose converter wrote the names.

use super::config::Architecture;

/// Outside of the layers.
const OUTER: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// In each layer of each architecture.
const LAYER: [(&str, &str); 4] = [
    ("attn_norm", "input_layernorm"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_down", "mlp.down_proj"),
];

/// Where every projection is on its own.
const SEPARATE: [(&str, &str); 5] = [
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
];

/// Phi-3: rows of q, k and v in one, rows of gate and up in one, both in the order of the Hugging Face checkpoint.
const FUSED: [(&str, &str); 2] = [
    ("attn_qkv", "self_attn.qkv_proj"),
    ("ffn_up", "mlp.gate_up_proj"),
];

/// Factors of the frequencies: part of the configuration, not weights.
pub(super) const ROPE_FREQS: &str = "rope_freqs.weight";
pub(super) const ROPE_LONG: &str = "rope_factors_long.weight";
pub(super) const ROPE_SHORT: &str = "rope_factors_short.weight";

/// The Hugging Face name of a weight or bias; none for what this architecture does not have.
pub(super) fn hugging_face(architecture: Architecture, layers: u64, name: &str) -> Option<String> {
    if let Some((_, outer)) = OUTER.iter().find(|(gguf, _)| *gguf == name) {
        return Some((*outer).to_owned());
    }
    let (layer, rest) = name.strip_prefix("blk.")?.split_once('.')?;
    let number: u64 = layer.parse().ok().filter(|&number| number < layers)?;
    let (part, suffix) = rest.rsplit_once('.')?;
    let (own, may_have_bias) = match architecture {
        Architecture::Llama => (&SEPARATE[..], !part.ends_with("_norm")),
        Architecture::Qwen2 => (
            &SEPARATE[..],
            matches!(part, "attn_q" | "attn_k" | "attn_v"),
        ),
        Architecture::Phi3 => (&FUSED[..], false),
    };
    let known = suffix == "weight" || suffix == "bias" && may_have_bias;
    // A number has one spelling, or two tensors could have one name.
    if !known || number.to_string() != layer {
        return None;
    }
    let mut parts = LAYER.iter().chain(own);
    let (_, part) = parts.find(|(gguf, _)| *gguf == part)?;
    Some(format!("model.layers.{number}.{part}.{suffix}"))
}
