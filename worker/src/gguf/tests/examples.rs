//! The files in `examples/models`, which gguf-py and `transformers` made.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::text::ids;
use crate::gguf::{Checkpoint, File};

fn models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models")
}

fn twin() -> Checkpoint {
    Checkpoint::open(&models().join("tiny-llama-gguf/tiny-llama-q8_0.gguf")).unwrap()
}

fn json(path: &str) -> Json {
    let text = std::fs::read_to_string(models().join(path)).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// All tensors of a safetensors file, whose values are f32.
fn safetensors(path: &str) -> BTreeMap<String, Vec<f32>> {
    let bytes = std::fs::read(models().join(path)).unwrap();
    let (length, rest) = bytes.split_first_chunk().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    let header: BTreeMap<String, Json> = serde_json::from_slice(header).unwrap();
    let tensors = header
        .into_iter()
        .filter(|(name, _)| name != "__metadata__");
    let values = |entry: &Json| {
        assert_eq!(entry["dtype"], "F32");
        let [start, end] = [0, 1].map(|at| entry["data_offsets"][at].as_u64().unwrap() as usize);
        let numbers = data[start..end].chunks_exact(4);
        numbers
            .map(|it| f32::from_le_bytes(it.try_into().unwrap()))
            .collect()
    };
    tensors
        .map(|(name, entry)| (name, values(&entry)))
        .collect()
}

#[test]
fn every_kind_has_the_values_that_gguf_py_gives_it() {
    let file = File::open(&models().join("golden/gguf_kinds.gguf")).unwrap();
    let expected = safetensors("golden/gguf_kinds.safetensors");
    assert_eq!(expected.len(), 8);
    for (name, expected) in expected {
        let rows = file.tensor(&name).unwrap().rows();
        assert_eq!(file.rows(&name, 0..rows).unwrap(), expected, "{name}");
    }
}

#[test]
fn a_kind_that_is_not_read_is_refused_by_name() {
    let error = File::open(&models().join("golden/gguf_refused.gguf"))
        .err()
        .unwrap();
    assert!(error.to_string().contains("IQ4_XS"), "{error}");
}

#[test]
fn the_twin_has_the_configuration_of_tiny_llama() {
    let (twin, config) = (twin(), json("tiny-llama/config.json"));
    for (field, value) in twin.config().as_object().unwrap() {
        match field.as_str() {
            "eos_token_id" => assert_eq!(value[0], config[field]),
            _ => assert_eq!(value, &config[field], "{field}"),
        }
    }
}

#[test]
fn the_twin_has_the_weights_of_tiny_llama_but_for_quantisation() {
    let twin = twin();
    let weights = safetensors("tiny-llama/model.safetensors");
    assert!(weights.keys().eq(twin.weights().keys()));
    for (name, expected) in weights {
        let rows = twin.weight(&name).unwrap().tensor.rows();
        let found = twin.rows(&name, 0..rows).unwrap();
        for (found, expected) in found.chunks(32).zip(expected.chunks(32)) {
            let largest = expected
                .iter()
                .fold(0.0, |largest: f32, it| largest.max(it.abs()));
            // Half a step, and the rounding of the step itself to f16.
            let bound = largest * (0.5 / 127.0 + 1.0 / 2048.0);
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() <= bound,
                    "{name}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn the_twin_has_the_words_of_tiny_llama() {
    let text = twin().text().unwrap();
    let told = json("tiny-llama/tokenizer_config.json");
    assert_eq!(
        text.chat_template.as_deref(),
        told["chat_template"].as_str()
    );
    for (name, token) in &text.special_tokens {
        assert_eq!(told[name], token.as_str(), "{name}");
    }
    let golden = json("golden/tiny-llama.json");
    let numbers = |value: &Json| -> Vec<u32> { serde_json::from_value(value.clone()).unwrap() };
    let cases = golden["tokens"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let words = case["text"].as_str().unwrap();
        assert_eq!(
            ids(&text.tokenizer, words, false),
            numbers(&case["ids"]),
            "{words:?}"
        );
        let framed = numbers(&case["ids_with_special_tokens"]);
        assert_eq!(ids(&text.tokenizer, words, true), framed, "{words:?}");
        let decoded = |skip| text.tokenizer.decode(&numbers(&case["ids"]), skip).unwrap();
        assert_eq!(case["decoded"], decoded(false), "{words:?}");
        assert_eq!(
            case["decoded_without_special_tokens"],
            decoded(true),
            "{words:?}"
        );
    }
    for chat in golden["chats"].as_array().unwrap() {
        let words = chat["text"].as_str().unwrap();
        assert_eq!(
            ids(&text.tokenizer, words, false),
            numbers(&chat["ids"]),
            "{words:?}"
        );
    }
}
