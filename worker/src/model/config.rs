//! `config.json`: what a decoder is made of.

use std::path::Path;

use pool_core::fit::Shape;
use serde::Deserialize;

use super::checkpoint::gguf_file;
use super::error::ModelError;
use super::files;
use super::rope::Rope;
use crate::gguf;

/// The families that [`super::Decoder`] computes, as `model_type` names them.
pub const SUPPORTED: &str = "llama, mistral, phi3, qwen2";

/// How a family differs where its `config.json` does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    Llama,
    Mistral,
    Phi3,
    Qwen2,
}

/// The shape of a decoder, checked: no size is zero, heads share keys evenly, `head_dim` is even.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub family: Family,
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
    pub rope: Rope,
    /// Positions that the model was made for.
    pub context: usize,
    /// The output matrix is the embedding.
    pub tied: bool,
    /// Queries, keys and values have a bias.
    pub qkv_bias: bool,
    /// The output of attention has one.
    pub output_bias: bool,
    /// Gate, up and down have one.
    pub mlp_bias: bool,
    /// For each layer, how many positions a token sees, its own included; all when none.
    pub windows: Vec<Option<usize>>,
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
    partial_rotary_factor: Option<f64>,
    /// Phi-3 writes it here, others among the positions.
    original_max_position_embeddings: Option<usize>,
    /// Older files name the scaling here and leave it out, or null, for none.
    rope_scaling: Option<Positions>,
    /// Newer files have everything about positions here.
    rope_parameters: Option<Positions>,
    max_position_embeddings: usize,
    #[serde(default)]
    tie_word_embeddings: bool,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    sliding_window: Option<usize>,
    use_sliding_window: Option<bool>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    eos_token_id: Option<OneOrMore>,
}

/// What `rope_scaling` or `rope_parameters` hold.
#[derive(Deserialize, Default, Clone)]
pub(super) struct Positions {
    #[serde(alias = "type")]
    pub rope_type: Option<String>,
    pub rope_theta: Option<f64>,
    pub partial_rotary_factor: Option<f64>,
    pub factor: Option<f64>,
    pub original_max_position_embeddings: Option<usize>,
    pub attention_factor: Option<f64>,
    pub beta_fast: Option<f64>,
    pub beta_slow: Option<f64>,
    pub mscale: Option<f64>,
    pub mscale_all_dim: Option<f64>,
    pub truncate: Option<bool>,
    pub low_freq_factor: Option<f64>,
    pub high_freq_factor: Option<f64>,
    pub short_factor: Option<Vec<f64>>,
    pub long_factor: Option<Vec<f64>>,
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
    /// Reads `config.json` of a model folder, or what its GGUF file says in its place.
    pub fn read(dir: &Path) -> Result<Self, ModelError> {
        const NAME: &str = "config.json";
        if let Some(text) = files::text(dir, NAME)? {
            return Self::parse(&dir.join(NAME), &text);
        }
        let path = gguf_file(dir)?.ok_or_else(|| ModelError::Missing {
            dir: dir.to_owned(),
            file: NAME,
        })?;
        let checkpoint = gguf::Checkpoint::open(&path)?;
        Self::parse(&path, &checkpoint.config().to_string())
    }

    /// The sizes that memory is counted by.
    pub fn shape(&self) -> Shape {
        // Checked to be far below this.
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let biases = [
            (self.qkv_bias, queries + 2 * keys),
            (self.output_bias, self.hidden),
            (self.mlp_bias, 2 * self.intermediate + self.hidden),
        ];
        let biases = biases.into_iter().filter(|(is_there, _)| *is_there);
        Shape {
            layers: number(self.layers),
            hidden: number(self.hidden),
            intermediate: number(self.intermediate),
            heads: number(self.heads),
            kv_heads: number(self.kv_heads),
            head_dim: number(self.head_dim),
            vocab: number(self.vocab),
            tied: self.tied,
            biases: number(biases.map(|(_, numbers)| numbers).sum()),
            context: number(self.context),
            as_stored: None,
            matrices_as_stored: None,
            is_f32: false,
        }
    }

    /// Reads the text of a `config.json`; `path` is what errors name.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Type {
            model_type: String,
        }
        let damaged = |error: serde_json::Error| ModelError::damaged(path, error);
        let unsupported = |what: String, supported| ModelError::Unsupported {
            path: path.to_owned(),
            what,
            supported,
        };
        let Type { model_type } = serde_json::from_str(text).map_err(damaged)?;
        let family = match model_type.as_str() {
            "llama" => Family::Llama,
            "mistral" => Family::Mistral,
            "phi3" => Family::Phi3,
            "qwen2" => Family::Qwen2,
            other => return Err(unsupported(format!("the model_type `{other}`"), SUPPORTED)),
        };
        let raw: Raw = serde_json::from_str(text).map_err(damaged)?;
        if let Some(act) = raw.hidden_act.as_ref().filter(|act| *act != "silu") {
            return Err(unsupported(format!("the activation `{act}`"), "silu"));
        }
        let positions = raw.positions();
        if let Some(kind) = &positions.rope_type
            && !Rope::KINDS.contains(&kind.as_str())
        {
            return Err(unsupported(
                format!("the rope scaling `{kind}`"),
                Rope::SUPPORTED,
            ));
        }
        raw.resolve(family, &positions)
            .map_err(|reason| ModelError::damaged(path, reason))
    }
}

impl Raw {
    /// Both ways to write positions, as the newer one.
    fn positions(&self) -> Positions {
        let mut positions = self
            .rope_parameters
            .clone()
            .or_else(|| self.rope_scaling.clone())
            .unwrap_or_default();
        positions.rope_theta = positions.rope_theta.or(self.rope_theta);
        positions.partial_rotary_factor = positions
            .partial_rotary_factor
            .or(self.partial_rotary_factor);
        let original = self
            .original_max_position_embeddings
            .or(positions.original_max_position_embeddings);
        positions.original_max_position_embeddings = original;
        positions
    }

    fn resolve(self, family: Family, positions: &Positions) -> Result<Config, String> {
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads.unwrap_or(1)),
            ("max_position_embeddings", self.max_position_embeddings),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        // Far above every model there is, and low enough that no product of sizes overflows.
        const MOST: usize = 1 << 24;
        let wrong = |&(_, size): &(&str, usize)| size == 0 || size > MOST;
        if let Some((name, size)) = sizes.into_iter().find(wrong) {
            return Err(format!("{name} is {size}"));
        }
        // Each is made before its weights are looked for.
        const MOST_LAYERS: usize = 4096;
        if self.num_hidden_layers > MOST_LAYERS {
            return Err(format!("num_hidden_layers is {}", self.num_hidden_layers));
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
        if !(self.rms_norm_eps >= 0.0 && self.rms_norm_eps.is_finite()) {
            return Err("rms_norm_eps must be positive".to_owned());
        }
        let rope = Rope::new(positions, head_dim, self.max_position_embeddings)?;
        let windows = self.windows(family)?;
        Ok(Config {
            family,
            vocab: self.vocab_size,
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads,
            kv_heads,
            head_dim,
            norm_eps: self.rms_norm_eps,
            context: rope.context(self.max_position_embeddings).min(MOST),
            rope,
            tied: self.tie_word_embeddings,
            qkv_bias: family == Family::Qwen2 || family == Family::Llama && self.attention_bias,
            output_bias: family == Family::Llama && self.attention_bias,
            mlp_bias: family == Family::Llama && self.mlp_bias,
            windows,
            eos: self
                .eos_token_id
                .map(OneOrMore::into_vec)
                .unwrap_or_default(),
        })
    }

    /// Llama has no window; Qwen2 has one from a layer on, when it is switched on at all.
    fn windows(&self, family: Family) -> Result<Vec<Option<usize>>, String> {
        let layers = self.num_hidden_layers;
        let window = match family {
            Family::Llama => None,
            Family::Mistral | Family::Phi3 => self.sliding_window,
            Family::Qwen2 => self
                .sliding_window
                .filter(|_| self.use_sliding_window == Some(true)),
        };
        if let (Family::Qwen2, Some(types)) = (family, &self.layer_types) {
            if types.len() != layers {
                return Err(format!(
                    "layer_types has {} entries for {layers} layers",
                    types.len()
                ));
            }
            return Ok(types
                .iter()
                .map(|kind| window.filter(|_| kind == "sliding_attention"))
                .collect());
        }
        let first = match family {
            Family::Qwen2 => self.max_window_layers.unwrap_or(28),
            _ => 0,
        };
        Ok((0..layers)
            .map(|layer| window.filter(|_| layer >= first))
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn minimal() -> Value {
        json!({
            "model_type": "llama", "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 32,
        })
    }

    fn read(config: &Value) -> Result<Config, ModelError> {
        Config::parse(Path::new("config.json"), &config.to_string())
    }

    fn with(fields: &[(&str, Value)]) -> Value {
        let mut config = minimal();
        for (field, value) in fields {
            config[field] = value.clone();
        }
        config
    }

    #[test]
    fn what_is_absent_has_the_default_of_the_family() {
        let config = read(&minimal()).unwrap();
        assert_eq!(
            (config.kv_heads, config.head_dim, config.tied),
            (4, 2, false)
        );
        assert_eq!(config.rope.frequencies(1), [1.0]);
        assert!(!config.qkv_bias && config.windows == [None, None]);
        assert_eq!(config.eos, Vec::<u32>::new());
        let qwen = read(&with(&[
            ("model_type", json!("qwen2")),
            ("sliding_window", json!(4)),
        ]))
        .unwrap();
        assert!(qwen.qkv_bias && !qwen.output_bias && qwen.windows == [None, None]);
    }

    /// What a GGUF file with `rope_freqs` comes to: one factor for each pair, whatever the length.
    #[test]
    fn factors_that_do_not_depend_on_the_length_leave_attention_alone() {
        let longrope = json!({
            "rope_type": "longrope", "short_factor": [4.0, 2.0], "long_factor": [4.0, 2.0],
            "attention_factor": 1.0, "original_max_position_embeddings": 32,
        });
        let scaled = [("rope_scaling", longrope), ("head_dim", json!(4))];
        let scaled = read(&with(&scaled)).unwrap();
        let plain = read(&with(&[("head_dim", json!(4))])).unwrap();
        for length in [1, 32, 1000] {
            let quotients = plain.rope.frequencies(length).into_iter();
            let quotients = quotients.zip(scaled.rope.frequencies(length));
            let quotients: Vec<f32> = quotients.map(|(a, b)| a / b).collect();
            assert_eq!(quotients, [4.0, 2.0]);
        }
        let (cos, sin) = scaled.rope.angles(0, 1, 1);
        assert_eq!((cos, sin), (vec![1.0; 2], vec![0.0; 2]));
        assert!(!scaled.rope.starts_again(1, 32) && scaled.context == 32);
    }

    #[test]
    fn both_ways_to_write_ends_are_read() {
        assert_eq!(read(&with(&[("eos_token_id", json!(2))])).unwrap().eos, [2]);
        assert_eq!(
            read(&with(&[("eos_token_id", json!([2, 3]))])).unwrap().eos,
            [2, 3]
        );
    }

    #[test]
    fn a_window_is_where_the_family_has_one() {
        let windows = |family: &str, more: &[(&str, Value)]| {
            let mut fields = vec![("model_type", json!(family)), ("sliding_window", json!(4))];
            fields.extend(more.iter().cloned());
            read(&with(&fields)).unwrap().windows
        };
        assert_eq!(windows("mistral", &[]), [Some(4), Some(4)]);
        assert_eq!(windows("phi3", &[]), [Some(4), Some(4)]);
        assert_eq!(windows("llama", &[]), [None, None]);
        let on = ("use_sliding_window", json!(true));
        assert_eq!(
            windows("qwen2", &[on.clone(), ("max_window_layers", json!(1))]),
            [None, Some(4)]
        );
        let types = (
            "layer_types",
            json!(["sliding_attention", "full_attention"]),
        );
        assert_eq!(windows("qwen2", &[on, types]), [Some(4), None]);
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused_by_name() {
        for (field, value, named) in [
            ("model_type", json!("gpt2"), "gpt2"),
            ("hidden_act", json!("gelu"), "gelu"),
            (
                "rope_scaling",
                json!({"type": "magic", "factor": 4.0}),
                "magic",
            ),
            (
                "rope_parameters",
                json!({"rope_type": "proportional"}),
                "proportional",
            ),
        ] {
            let error = read(&with(&[(field, value)])).unwrap_err();
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
            ("rope_scaling", json!({"type": "linear"})),
            ("rope_scaling", json!({"type": "linear", "factor": 0.0})),
            (
                "rope_scaling",
                json!({"type": "longrope", "short_factor": [1.0], "long_factor": []}),
            ),
            ("partial_rotary_factor", json!(0.0)),
        ] {
            let error = read(&with(&[(field, value)])).unwrap_err();
            assert!(
                matches!(error, ModelError::Damaged { .. }),
                "{field}: {error}"
            );
        }
    }
}
