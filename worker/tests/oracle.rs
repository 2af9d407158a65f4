//! The four families against candle-transformers, where it is right: short prompts, which no window and no scaling touches.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral, phi3, qwen2};
use serde_json::Value;

use crate::networks::{assert_close, both, logits};
use crate::support::{examples, read_json};

/// What comes after the last token, by candle-transformers.
fn oracle(dir: &Path, tokens: &[u32]) -> Result<Vec<f32>> {
    let config = read_json(dir.join("config.json"));
    let weights = weights(dir)?;
    let x = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
    let logits = match config["model_type"].as_str().unwrap() {
        "llama" => {
            let config: llama::LlamaConfig = serde_json::from_value(config).unwrap();
            let config = config.into_config(false);
            let mut cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
            llama::Llama::load(weights, &config)?.forward(&x, 0, &mut cache)?
        }
        "qwen2" => {
            let config = serde_json::from_value(config).unwrap();
            qwen2::ModelForCausalLM::new(&config, weights)?.forward(&x, 0)?
        }
        "phi3" => {
            let config = serde_json::from_value(config).unwrap();
            phi3::Model::new(&config, weights)?.forward(&x, 0)?
        }
        "mistral" => {
            let mut config: Value = config;
            config["use_flash_attn"] = false.into();
            let config = serde_json::from_value(config).unwrap();
            mistral::Model::new(&config, weights)?.forward(&x, 0)?
        }
        other => panic!("{other}"),
    };
    logits.flatten_all()?.to_vec1()
}

fn weights(dir: &Path) -> Result<VarBuilder<'static>> {
    let mut tensors = HashMap::new();
    for entry in dir.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|it| it == "safetensors") {
            tensors.extend(candle_core::safetensors::load(path, &Device::Cpu)?);
        }
    }
    Ok(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu))
}

#[test]
fn the_four_families_agree_with_candle_transformers() {
    for name in ["tiny-llama", "tiny-qwen2", "tiny-phi3", "tiny-mistral"] {
        let dir = examples().join(name);
        // Any tokens will do: some small, some large, some again.
        let tokens: Vec<u32> = (0..50).map(|n| (n * n * 37 + 11) % 740).collect();
        for length in [1, 2, 17, 50] {
            let theirs = oracle(&dir, &tokens[..length]).unwrap();
            for (ops, mut network) in both(&dir) {
                let ours = logits(network.as_mut(), &tokens[..length]);
                let what = format!("{name} by {ops}, {length} tokens");
                assert_close(ours.last().unwrap(), &theirs, &what);
            }
        }
    }
}
