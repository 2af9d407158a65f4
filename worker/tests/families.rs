//! Every family and every field of a configuration, against `transformers`.

use std::path::PathBuf;

use pool_core::weights::{Dtype, Quantization};
use serde_json::Value;
use worker::model::{Keep, Network};

use crate::networks::{EXACT, both, difference, greedy, is_close, logits, model, tensors};
use crate::support::{examples, read_json};

fn random() -> PathBuf {
    examples().join("golden/random")
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn random_models_of_every_configuration_agree_with_transformers() {
    let mut models = 0;
    let mut wrong = Vec::new();
    for entry in random().read_dir().unwrap() {
        let dir = entry.unwrap().path();
        if !dir.is_dir() {
            continue;
        }
        models += 1;
        let model = dir.file_name().unwrap().to_str().unwrap();
        let golden = read_json(dir.with_extension("json"));
        for (ops, mut network) in both(&dir) {
            for (number, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
                let (worst, same, of) = compare(network.as_mut(), case);
                if !is_close(worst) || same < of {
                    wrong.push(format!(
                        "{model} by {ops}, case {number}: off by {worst}, {same} of {of} tokens"
                    ));
                }
            }
        }
    }
    assert!(models >= 20, "{models}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The largest difference of logits in a case, and how many of its tokens are the same.
fn compare(network: &mut dyn Network, case: &Value) -> (f32, usize, usize) {
    let prompt = ids(&case["ids"]);
    let all = logits(network, &prompt);
    let mut worst = difference(all.last().unwrap(), &floats(&case["last_logits"]));
    let positions = case["positions"].as_array().unwrap();
    let theirs = case["position_logits"].as_array().unwrap();
    for (position, theirs) in positions.iter().zip(theirs) {
        let at = position.as_u64().unwrap() as usize;
        worst = worst.max(difference(&all[at], &floats(theirs)));
    }
    let theirs = ids(&case["greedy_ids"]);
    let (ours, last) = greedy(network, &prompt, theirs.len());
    let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    if same == theirs.len() {
        worst = worst.max(difference(&last, &floats(&case["final_logits"])));
    }
    (worst, same, theirs.len())
}

#[test]
fn the_four_families_and_the_twin_in_gguf_agree_with_transformers() {
    for name in [
        "tiny-llama",
        "tiny-llama-gguf",
        "tiny-qwen2",
        "tiny-phi3",
        "tiny-mistral",
    ] {
        let dir = examples().join(name);
        let text = model(&dir).text;
        let golden = read_json(examples().join(format!("golden/{name}.json")));
        for (ops, mut network) in both(&dir) {
            for run in golden["runs"].as_array().unwrap() {
                let what = format!("{name} by {ops}: {}", run["name"]);
                let prompt = ids(&run["ids"]);
                let all = logits(network.as_mut(), &prompt);
                let worst = difference(all.last().unwrap(), &floats(&run["last_logits"]));
                assert!(is_close(worst), "{what}: {worst}");
                let theirs = ids(&run["greedy_ids"]);
                let (ours, _) = greedy(network.as_mut(), &prompt, theirs.len());
                assert_eq!(ours, theirs, "{what}");
                let ended = ours.last().is_some_and(|&id| text.is_eos(id));
                assert_eq!(ended, run["stop"] == "eos", "{what}");
            }
        }
    }
}

#[test]
fn blocks_on_a_device_give_the_answers_of_the_numbers() {
    for (name, quantize) in [
        ("tiny-llama-gguf", None),
        ("tiny-llama", Some(Quantization::Q8_0)),
    ] {
        let keep = Keep {
            dtype: Dtype::Auto,
            quantize,
        };
        let dir = examples().join(name);
        let mut network = tensors(&dir, keep);
        let numbers = tensors(&dir, EXACT);
        let (kept, whole) = (network.memory().weights, numbers.memory().weights);
        assert!(kept * 2 < whole, "{name}: {kept} of {whole} bytes");
        let golden = read_json(examples().join(format!("golden/{name}.json")));
        for run in golden["runs"].as_array().unwrap() {
            let what = format!("{name}: {}", run["name"]);
            let theirs = ids(&run["greedy_ids"]);
            let (ours, _) = greedy(network.as_mut(), &ids(&run["ids"]), theirs.len());
            assert_eq!(ours, theirs, "{what}");
        }
    }
}
