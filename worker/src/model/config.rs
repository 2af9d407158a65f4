//! `config.json`: what a decoder is made of.

use std::path::Path;

use serde::Deserialize;

use super::error::ModelError;
use super::files;

/// The families that [`super::Decoder`] computes, as `model_type` names them.
pub const SUPPORTED: &str = "llama";

/// The shape of a decoder, checked: no size is zero, heads share keys evenly, `head_dim` is even.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub vocab: usize,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values; each serves `heads / kv_heads` queries.
    pub kv_heads: usize,
    pub head_dim: usize,
    pub norm_eps: f64,
    pub rope_theta: f64,
    /// Positions that the model was made for.
    pub context: usize,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Ids that end an answer, as far as `config.json` knows them.
    pub eos: Vec<u32>,
}

/// The file as it is written; what is absent has the default of its family.
#[derive(Deserialize)]
struct Raw {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    hidden_act: Option<String>,
    #[serde(default = "default_eps")]
    rms_norm_eps: f64,
    rope_theta: Option<f64>,
    /// Older files name the scaling here and leave it out, or null, for none.
    rope_scaling: Option<Rope>,
    /// Newer files have everything about positions here.
    rope_parameters: Option<Rope>,
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    eos_token_id: Option<OneOrMore>,
}

#[derive(Deserialize)]
struct Rope {
    #[serde(alias = "type")]
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

/// Hugging Face writes one id as a number and several as a list.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum OneOrMore {
    One(u32),
    More(Vec<u32>),
}

impl OneOrMore {
    pub fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::More(ids) => ids,
        }
    }
}

fn default_eps() -> f64 {
    1e-6
}

impl Config {
    /// Reads `config.json` of a model folder.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Family {
            model_type: String,
        }
        let path = dir.join("config.json");
        let text = files::required_text(dir, "config.json")?;
        let damaged = |error: serde_json::Error| ModelError::damaged(&path, error);
        let unsupported = |what: String, supported| ModelError::Unsupported {
            path: path.clone(),
            what,
            supported,
        };
        let family: Family = serde_json::from_str(&text).map_err(damaged)?;
        if family.model_type != SUPPORTED {
            let what = format!("the model_type `{}`", family.model_type);
            return Err(unsupported(what, SUPPORTED));
        }
        let raw: Raw = serde_json::from_str(&text).map_err(damaged)?;
        if let Some((what, supported)) = raw.unsupported() {
            return Err(unsupported(what, supported));
        }
        raw.resolve()
            .map_err(|reason| ModelError::damaged(&path, reason))
    }
}

impl Raw {
    /// What the decoder would compute wrongly.
    fn unsupported(&self) -> Option<(String, &'static str)> {
        if let Some(act) = self.hidden_act.as_ref().filter(|act| *act != "silu") {
            return Some((format!("the activation `{act}`"), "silu"));
        }
        let ropes = [&self.rope_parameters, &self.rope_scaling];
        let kinds = ropes
            .into_iter()
            .flatten()
            .filter_map(|rope| rope.rope_type.as_ref());
        if let Some(kind) = kinds.into_iter().find(|kind| *kind != "default") {
            return Some((format!("the rope scaling `{kind}`"), "default"));
        }
        if self.attention_bias || self.mlp_bias {
            return Some(("linear layers with a bias".to_owned(), "none"));
        }
        None
    }

    fn resolve(self) -> Result<Config, String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads.unwrap_or(1)),
            ("max_position_embeddings", self.max_position_embeddings),
        ];
        // Far above every model there is, and low enough that no product of sizes overflows.
        const MOST: usize = 1 << 24;
        if let Some((name, size)) = sizes
            .into_iter()
            .find(|&(_, size)| size == 0 || size > MOST)
        {
            return Err(format!("{name} is {size}"));
        }
        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        if !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "{heads} heads cannot share {kv_heads} heads of keys"
            ));
        }
        let head_dim = self.head_dim.unwrap_or(self.hidden_size / heads);
        if head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim > MOST {
            return Err(format!("head_dim is {head_dim}: it must be even"));
        }
        let theta = self.rope_parameters.and_then(|rope| rope.rope_theta);
        let theta = theta.or(self.rope_theta).unwrap_or(10_000.0);
        if !(theta > 0.0 && theta.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err("rope_theta and rms_norm_eps must be positive".to_owned());
        }
        Ok(Config {
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads,
            kv_heads,
            head_dim,
            norm_eps: self.rms_norm_eps,
            rope_theta: theta,
            context: self.max_position_embeddings,
            tied: self.tie_word_embeddings,
            eos: self
                .eos_token_id
                .map(OneOrMore::into_vec)
                .unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn minimal() -> Value {
        json!({
            "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 4, "max_position_embeddings": 32,
        })
    }

    fn read(config: &Value) -> Result<Config, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        Config::read(dir.path())
    }

    fn with(field: &str, value: Value) -> Value {
        let mut config = minimal();
        config[field] = value;
        config
    }

    #[test]
    fn what_is_absent_has_the_default_of_the_family() {
        let config = read(&minimal()).unwrap();
        assert_eq!(
            (config.kv_heads, config.head_dim, config.tied),
            (4, 2, false)
        );
        assert!((config.rope_theta - 10_000.0).abs() < f64::EPSILON);
        assert_eq!(config.eos, Vec::<u32>::new());
    }

    #[test]
    fn both_ways_to_write_positions_and_ends_are_read() {
        let rope = json!({"rope_type": "default", "rope_theta": 5e5});
        assert!((read(&with("rope_parameters", rope)).unwrap().rope_theta - 5e5).abs() < 1e-9);
        assert!((read(&with("rope_theta", json!(1e6))).unwrap().rope_theta - 1e6).abs() < 1e-9);
        assert_eq!(read(&with("eos_token_id", json!(2))).unwrap().eos, [2]);
        assert_eq!(
            read(&with("eos_token_id", json!([2, 3]))).unwrap().eos,
            [2, 3]
        );
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused_by_name() {
        for (field, value, named) in [
            ("model_type", json!("gpt2"), "gpt2"),
            ("hidden_act", json!("gelu"), "gelu"),
            (
                "rope_scaling",
                json!({"type": "yarn", "factor": 4.0}),
                "yarn",
            ),
            ("rope_parameters", json!({"rope_type": "llama3"}), "llama3"),
            ("attention_bias", json!(true), "bias"),
        ] {
            let error = read(&with(field, value)).unwrap_err();
            assert!(matches!(error, ModelError::Unsupported { .. }), "{error}");
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn sizes_that_make_no_decoder_are_refused() {
        for (field, value) in [
            ("vocab_size", json!(0)),
            ("vocab_size", json!(u64::MAX)),
            ("hidden_size", json!("8")),
            ("num_key_value_heads", json!(3)),
            ("num_key_value_heads", json!(0)),
            ("head_dim", json!(3)),
            ("rope_theta", json!(-1.0)),
            ("model_type", json!(null)),
        ] {
            let error = read(&with(field, value)).unwrap_err();
            assert!(
                matches!(error, ModelError::Damaged { .. }),
                "{field}: {error}"
            );
        }
    }
}
