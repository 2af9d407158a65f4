//! The configuration of a model, from metadata to what its `config.json` would say.
//!
//! Source: `set_gguf_parameters` in `conversion/` of llama.cpp for the keys; the `*Config` classes of `transformers` for
//! the fields.

use serde_json::{Value as Json, json};

use super::file::File;
use super::rope;
use pool_core::gguf::Error;
use pool_core::gguf::Value;

/// The architectures that are read, as `general.architecture` names them. Mistral's models are `llama`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    Llama,
    Qwen2,
    Phi3,
}

const ARCHITECTURES: &str = "llama, qwen2, phi3";

impl Architecture {
    /// The name, in GGUF and as `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Phi3 => "phi3",
        }
    }

    pub(super) fn of(file: &File) -> Result<Self, Error> {
        const KEY: &str = "general.architecture";
        let value = file.metadata().get(KEY);
        let value = value.ok_or_else(|| Error::missing(file.path(), format!("key `{KEY}`")))?;
        let all = [Self::Llama, Self::Qwen2, Self::Phi3];
        let found = all.into_iter().find(|it| value.as_str() == Some(it.name()));
        found.ok_or_else(|| {
            let name = value.as_str().map(str::to_owned);
            let name = name.unwrap_or_else(|| format!("{value:?}"));
            let what = format!("the architecture `{}`", name.escape_debug());
            Error::unsupported(file.path(), what, ARCHITECTURES)
        })
    }
}

/// The keys of one architecture, read by their last part.
pub(super) struct Keys<'a> {
    pub file: &'a File,
    pub architecture: Architecture,
}

impl<'a> Keys<'a> {
    pub fn new(file: &'a File, architecture: Architecture) -> Self {
        Self { file, architecture }
    }

    pub fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture.name())
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.file.metadata().get(&self.name(key))
    }

    pub fn missing(&self, key: &str) -> Error {
        Error::missing(self.file.path(), format!("key `{}`", self.name(key)))
    }

    pub fn damaged(&self, key: &str, reason: impl ToString) -> Error {
        let place = format!("the key `{}`", self.name(key));
        Error::damaged(self.file.path(), place, reason)
    }

    pub fn unsupported(&self, key: &str, what: impl ToString, supported: &'static str) -> Error {
        let what = format!("{} in `{}`", what.to_string(), self.name(key));
        Error::unsupported(self.file.path(), what, supported)
    }

    /// A number of things. A list with one for each layer stands for its value where all are the same.
    pub fn whole(&self, key: &str) -> Result<Option<u64>, Error> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let Some(scalars) = value.as_scalars() else {
            let number = value.as_u64();
            let wrong = || self.damaged(key, format!("{value:?} is no whole number"));
            return number.ok_or_else(wrong).map(Some);
        };
        let mut values = scalars.values();
        let first = values.next().and_then(|value| value.as_u64());
        let first = first.ok_or_else(|| self.damaged(key, "it is no list of whole numbers"))?;
        if values.any(|value| value.as_u64() != Some(first)) {
            let what = "another number for each layer";
            return Err(self.unsupported(key, what, "one number for all layers"));
        }
        Ok(Some(first))
    }

    pub fn need(&self, key: &str) -> Result<u64, Error> {
        self.whole(key)?.ok_or_else(|| self.missing(key))
    }

    /// A finite number.
    pub fn number(&self, key: &str) -> Result<Option<f64>, Error> {
        let number = |value: &Value| {
            let number = value.as_f64().filter(|number| number.is_finite());
            number.ok_or_else(|| self.damaged(key, format!("{value:?} is no finite number")))
        };
        self.get(key).map(number).transpose()
    }
}

/// What `config.json` would say.
pub(super) fn config(file: &File, architecture: Architecture) -> Result<Json, Error> {
    let keys = Keys::new(file, architecture);
    refuse_what_would_be_left_out(&keys)?;
    let hidden = keys.need("embedding_length")?;
    let heads = keys.need("attention.head_count")?;
    let kv_heads = keys.whole("attention.head_count_kv")?.unwrap_or(heads);
    let head_dim = head_dim(&keys, hidden, heads)?;
    let context = keys.need("context_length")?;
    let mut config = json!({
        "model_type": architecture.name(),
        "vocab_size": vocabulary(&keys)?,
        "hidden_size": hidden,
        "intermediate_size": keys.need("feed_forward_length")?,
        "num_hidden_layers": keys.need("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": keys.number(EPS)?.ok_or_else(|| keys.missing(EPS))?,
        "max_position_embeddings": context,
        "tie_word_embeddings": !file.tensors().contains_key("output.weight"),
        // Of the families, only this one lets its configuration say so.
        "attention_bias": architecture == Architecture::Llama && has_bias(file, &["attn_q", "attn_output"]),
        "mlp_bias": architecture == Architecture::Llama && has_bias(file, &["ffn_up", "ffn_down"]),
    });
    for (field, value) in rope::fields(&keys, head_dim, context)? {
        config[field] = value;
    }
    if let Some(window) = keys.whole(WINDOW)?.filter(|&window| window > 0) {
        match architecture {
            // What a `llama` file with a window was: the model without one is the same otherwise.
            Architecture::Llama => config["model_type"] = json!("mistral"),
            Architecture::Qwen2 => config["use_sliding_window"] = json!(true),
            Architecture::Phi3 => (),
        }
        config["sliding_window"] = json!(window);
    }
    let token = |key: &str| file.metadata().get(key).and_then(Value::as_u64);
    if let Some(bos) = token("tokenizer.ggml.bos_token_id") {
        config["bos_token_id"] = json!(bos);
    }
    let mut ends = Vec::new();
    for end in ENDS.iter().filter_map(|key| token(key)) {
        if !ends.contains(&end) {
            ends.push(end);
        }
    }
    if !ends.is_empty() {
        config["eos_token_id"] = json!(ends);
    }
    Ok(config)
}

fn has_bias(file: &File, parts: &[&str]) -> bool {
    let name = |part: &&str| format!("blk.0.{part}.bias");
    parts
        .iter()
        .any(|part| file.tensors().contains_key(&name(part)))
}

const EPS: &str = "attention.layer_norm_rms_epsilon";
const WINDOW: &str = "attention.sliding_window";

/// Tokens after which nothing follows: end of sequence, of turn, of message.
pub(super) const ENDS: [&str; 3] = [
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.eom_token_id",
];

/// Keys that change what a model computes, and the value that changes nothing.
fn refuse_what_would_be_left_out(keys: &Keys) -> Result<(), Error> {
    for (key, neutral) in [
        ("expert_count", 0.0),
        ("logit_scale", 1.0),
        ("residual_scale", 1.0),
        ("embedding_scale", 1.0),
        ("attn_logit_softcapping", 0.0),
        ("final_logit_softcapping", 0.0),
        ("attention.scale", 0.0),
        ("attention.clamp_kqv", 0.0),
        ("attention.max_alibi_bias", 0.0),
        ("rope.scaling.yarn_ext_factor", 1.0),
    ] {
        let value = keys.number(key)?.unwrap_or(neutral);
        if (value - neutral).abs() > f64::EPSILON {
            return Err(keys.unsupported(key, format!("the value {value}"), "models without it"));
        }
    }
    Ok(())
}

fn head_dim(keys: &Keys, hidden: u64, heads: u64) -> Result<u64, Error> {
    let even = hidden.checked_div(heads);
    let even = even.ok_or_else(|| keys.damaged("attention.head_count", "there are no heads"))?;
    let key = keys.whole("attention.key_length")?.unwrap_or(even);
    let value = keys.whole("attention.value_length")?.unwrap_or(key);
    if key != value {
        let what = format!("values of {value} beside keys of {key}");
        return Err(keys.unsupported("attention.value_length", what, "the same length for both"));
    }
    Ok(key)
}

/// Rows of the embedding: what the model has, though the tokenizer may name fewer.
fn vocabulary(keys: &Keys) -> Result<usize, Error> {
    let rows = keys.file.tensor("token_embd.weight")?.rows();
    if let Some(claimed) = keys.whole("vocab_size")?
        && claimed != rows as u64
    {
        let reason = format!("it is {claimed}, but the embedding has {rows} rows");
        return Err(keys.damaged("vocab_size", reason));
    }
    Ok(rows)
}
