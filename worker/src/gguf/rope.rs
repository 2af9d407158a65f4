//! Rotary positions: base, scaling, and the tensors of factors.

use serde_json::{Map, Value as Json, json};

use super::Kind;
use super::config::{Architecture, Keys};
use super::names::{ROPE_FREQS, ROPE_LONG, ROPE_SHORT};
use pool_core::gguf::Error;
use pool_core::gguf::{Value, decimal};

const TYPE: &str = "rope.scaling.type";
const FACTOR: &str = "rope.scaling.factor";
/// Written before there were types; its only type is linear.
const OLD_FACTOR: &str = "rope.scale_linear";
const ORIGINAL: &str = "rope.scaling.original_context_length";
const DIMENSIONS: &str = "rope.dimension_count";

/// The fields of `config.json` about positions.
pub(super) fn fields(keys: &Keys, head_dim: u64, context: u64) -> Result<Map<String, Json>, Error> {
    let mut fields = Map::new();
    let base = keys.number("rope.freq_base")?.unwrap_or(10_000.0);
    fields.insert("rope_theta".to_owned(), json!(base));
    let turned = keys.whole(DIMENSIONS)?.unwrap_or(head_dim);
    if turned != head_dim {
        if keys.architecture != Architecture::Phi3 || turned == 0 || turned > head_dim {
            let what = format!("{turned} of {head_dim} dimensions turned");
            return Err(keys.unsupported(DIMENSIONS, what, "all of them, or part in phi3"));
        }
        let part = turned as f64 / head_dim as f64;
        fields.insert("partial_rotary_factor".to_owned(), json!(part));
    }
    let original = keys.whole(ORIGINAL)?;
    if let Some(original) = original {
        let field = "original_max_position_embeddings".to_owned();
        fields.insert(field, json!(original));
    }
    let original = original.unwrap_or(context);
    let scaling = scaling(keys, turned, context, original)?;
    fields.insert("rope_scaling".to_owned(), scaling);
    Ok(fields)
}

fn scaling(keys: &Keys, turned: u64, context: u64, original: u64) -> Result<Json, Error> {
    let factor = keys.number(FACTOR)?.or(keys.number(OLD_FACTOR)?);
    let has = |name| keys.file.tensors().contains_key(name);
    let longrope = has(ROPE_LONG) || has(ROPE_SHORT);
    let kind = match keys.get(TYPE).map(Value::as_str) {
        Some(None) => return Err(keys.damaged(TYPE, "it is no string")),
        Some(Some(kind)) => kind,
        None if longrope => "longrope",
        None if factor.is_some_and(|factor| factor > 0.0) => "linear",
        None => "none",
    };
    if has(ROPE_FREQS) && (kind != "none" || longrope) {
        let what = format!("the scaling `{kind}` beside the tensor `{ROPE_FREQS}`");
        return Err(keys.unsupported(TYPE, what, "one of the two"));
    }
    let need_factor = || factor.ok_or_else(|| keys.missing(FACTOR));
    Ok(match kind {
        "none" if has(ROPE_FREQS) => {
            // One factor for each frequency, whatever the length: how `llama3` scaling is stored. Said with the words of
            // longrope, whose two lists are then the same and whose attention is left alone.
            let factors = factors(keys, ROPE_FREQS, turned)?;
            json!({
                "rope_type": "longrope",
                "short_factor": factors,
                "long_factor": factors,
                "attention_factor": 1.0,
                "original_max_position_embeddings": context,
            })
        }
        "none" => Json::Null,
        "linear" => json!({ "rope_type": "linear", "factor": need_factor()? }),
        "yarn" => {
            let mut yarn = json!({
                "rope_type": "yarn",
                "factor": need_factor()?,
                "original_max_position_embeddings": original,
            });
            for (key, field) in [
                ("rope.scaling.yarn_attn_factor", "attention_factor"),
                ("rope.scaling.yarn_beta_fast", "beta_fast"),
                ("rope.scaling.yarn_beta_slow", "beta_slow"),
            ] {
                if let Some(value) = keys.number(key)? {
                    yarn[field] = json!(value);
                }
            }
            yarn
        }
        "longrope" => {
            let mut longrope = json!({
                "rope_type": "longrope",
                "short_factor": factors(keys, ROPE_SHORT, turned)?,
                "long_factor": factors(keys, ROPE_LONG, turned)?,
                "original_max_position_embeddings": original,
            });
            if let Some(value) = keys.number("rope.scaling.attn_factor")? {
                longrope["attention_factor"] = json!(value);
            }
            longrope
        }
        _ => {
            let what = format!("the scaling `{}`", kind.escape_debug());
            return Err(keys.unsupported(TYPE, what, "none, linear, yarn, longrope"));
        }
    })
}

/// One factor for each pair of dimensions that turn together; each divides a frequency.
fn factors(keys: &Keys, name: &str, turned: u64) -> Result<Vec<f64>, Error> {
    let tensor = keys.file.tensor(name)?;
    let damaged = |reason: String| {
        let place = format!("the tensor `{name}`");
        Error::damaged(keys.file.path(), place, reason)
    };
    let pairs = turned / 2;
    if tensor.shape != [pairs as usize] || tensor.kind != Kind::F32 {
        let (shape, kind) = (&tensor.shape, tensor.kind.name());
        return Err(damaged(format!(
            "it is {shape:?} of {kind}, not [{pairs}] of F32"
        )));
    }
    let factors = keys.file.rows(name, 0..1)?;
    if let Some(bad) = factors.iter().find(|it| !(it.is_finite() && **it > 0.0)) {
        return Err(damaged(format!("{bad} divides no frequency")));
    }
    Ok(factors.into_iter().map(decimal).collect())
}
