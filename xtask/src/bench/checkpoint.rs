//! A model folder in Hugging Face layout: random weights of a true shape, and words for them.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::random::{Weights, bf16};
use super::shape::Shape;
use crate::say;

const SEED: u64 = 1;

/// The folder of a shape under `models`, written when it is not there.
pub fn folder(models: &Path, shape: &Shape) -> anyhow::Result<PathBuf> {
    let dir = models.join(shape.name);
    if dir.is_dir() {
        return Ok(dir);
    }
    say(&format!(
        "models: writing random weights of {}'s shape",
        shape.title
    ));
    // By way of a temporary name: a folder that is there is complete.
    let part = models.join(format!(".{}.part", shape.name));
    if part.exists() {
        std::fs::remove_dir_all(&part)?;
    }
    write(&part, shape).with_context(|| format!("cannot write {}", part.display()))?;
    std::fs::rename(&part, &dir)?;
    Ok(dir)
}

fn write(dir: &Path, shape: &Shape) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir)?;
    let texts = [
        ("config.json", config(shape)),
        ("generation_config.json", json!({})),
        ("tokenizer.json", tokenizer(shape)),
    ];
    for (name, value) in texts {
        std::fs::write(dir.join(name), value.to_string())?;
    }
    let mut file = BufWriter::new(File::create(dir.join("model.safetensors"))?);
    let mut header = header(shape).to_string();
    while !header.len().is_multiple_of(8) {
        header.push(' ');
    }
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    let mut weights = Weights::new(SEED);
    for tensor in shape.tensors() {
        if tensor.norm {
            file.write_all(&bf16(1.0).repeat(tensor.count()))?;
        } else {
            weights.write(tensor.count(), &mut file)?;
        }
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// No token ends an answer.
fn config(shape: &Shape) -> Value {
    json!({
        "architectures": [shape.architecture],
        "model_type": shape.family,
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "max_position_embeddings": shape.context,
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.kv_heads,
        "rms_norm_eps": shape.eps,
        "rope_theta": shape.theta,
        "sliding_window": null,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "bfloat16",
        "vocab_size": shape.vocab,
    })
}

fn header(shape: &Shape) -> Value {
    let mut header = Map::new();
    // Some versions of transformers take no file without it.
    header.insert("__metadata__".to_owned(), json!({ "format": "pt" }));
    let mut start = 0;
    for tensor in shape.tensors() {
        let end = start + 2 * tensor.count();
        let entry = json!({ "dtype": "BF16", "shape": tensor.sizes, "data_offsets": [start, end] });
        header.insert(tensor.name, entry);
        start = end;
    }
    Value::Object(header)
}

/// A byte-level BPE without merges: a prompt has as many tokens as bytes, and an answer is made of words.
fn tokenizer(shape: &Shape) -> Value {
    let bytes = byte_letters();
    let words = (bytes.len()..shape.vocab).map(|id| format!("\u{120}word{id}"));
    let letters = bytes.iter().map(char::to_string);
    let vocab: Map<String, Value> = letters
        .chain(words)
        .enumerate()
        .map(|(id, token)| (token, json!(id)))
        .collect();
    json!({
        "version": "1.0",
        "added_tokens": [],
        "normalizer": null,
        "pre_tokenizer": { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true },
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
        "model": { "type": "BPE", "vocab": vocab, "merges": [] },
    })
}

/// The letters that GPT-2's byte-level tokenizer writes the 256 bytes as.
fn byte_letters() -> Vec<char> {
    let printed = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    let (seen, unseen): (Vec<u8>, Vec<u8>) = (0..=255).partition(printed);
    let letter = |(at, _): (u32, u8)| char::from_u32(256 + at);
    let unseen = (0..).zip(unseen).filter_map(letter);
    seen.into_iter().map(char::from).chain(unseen).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape::{PHI3, QWEN, TINYLLAMA};
    use crate::bench::tensors::Tensor;

    #[test]
    fn the_header_lays_tensors_end_to_end() {
        for shape in [QWEN, TINYLLAMA, PHI3] {
            let header = header(&shape);
            let mut at = 0;
            for tensor in shape.tensors() {
                let entry = &header[&tensor.name];
                assert_eq!(entry["data_offsets"][0], at, "{}", tensor.name);
                at += 2 * tensor.count();
                assert_eq!(entry["data_offsets"][1], at, "{}", tensor.name);
            }
        }
    }

    #[test]
    fn the_vocabulary_has_a_token_for_every_byte_and_every_id() {
        let tokenizer = tokenizer(&TINYLLAMA);
        let vocab = tokenizer["model"]["vocab"].as_object().unwrap();
        assert_eq!(vocab.len(), TINYLLAMA.vocab);
        let mut ids: Vec<u64> = vocab.values().map(|id| id.as_u64().unwrap()).collect();
        ids.sort_unstable();
        assert!(ids.iter().zip(0..).all(|(id, at)| *id == at));
        let letters = byte_letters();
        assert_eq!(letters.len(), 256);
        assert!(letters.contains(&'\u{120}') && letters.contains(&'\u{10a}'));
    }

    #[test]
    fn a_folder_that_is_there_is_complete() {
        let models = tempfile::tempdir().unwrap();
        let small = Shape {
            name: "small",
            hidden: 64,
            layers: 1,
            heads: 2,
            kv_heads: 1,
            intermediate: 96,
            vocab: 300,
            ..TINYLLAMA
        };
        let dir = folder(models.path(), &small).unwrap();
        let size = dir.join("model.safetensors").metadata().unwrap().len();
        let bytes = std::fs::read(dir.join("model.safetensors")).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let numbers: usize = small.tensors().iter().map(Tensor::count).sum();
        assert_eq!(size, 8 + header + 2 * numbers as u64);
        let entries = std::fs::read_dir(models.path()).unwrap().count();
        assert_eq!(entries, 1, "nothing else is left");
    }
}
