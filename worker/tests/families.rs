//! Every family and every field of a configuration, against `transformers`.

use std::path::{Path, PathBuf};

use pool_core::device::Device;
use serde_json::Value;
use worker::model::{Checkpoint, Config, Decoder, Model, Options};

use crate::support::{examples, read_json};

/// The largest difference of logits that passes.
const CLOSE: f32 = 1e-4;

fn random() -> PathBuf {
    examples().join("golden/random")
}

fn decoder(dir: &Path) -> Decoder {
    let config = Config::read(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
    let context = config.context;
    let checkpoint = Checkpoint::open(dir).unwrap();
    Decoder::load(
        config,
        context,
        checkpoint,
        &candle_core::Device::Cpu,
        &|_| {},
    )
    .unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

/// The likeliest tokens one after another, and the logits that chose the last.
fn greedy(decoder: &Decoder, prompt: &[u32], count: usize) -> (Vec<u32>, Vec<f32>) {
    let mut sequence = decoder
        .sequence(prompt.len(), prompt.len() + count)
        .unwrap();
    let mut next = prompt.to_vec();
    let mut out = Vec::new();
    loop {
        let hidden = decoder.forward(&next, &mut sequence).unwrap();
        let logits = decoder.last_logits(&hidden).unwrap();
        let best = logits
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1))
            .unwrap()
            .0;
        out.push(best as u32);
        if out.len() == count {
            return (out, logits);
        }
        next = vec![best as u32];
    }
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
        let name = dir.file_name().unwrap().to_str().unwrap().to_owned();
        let decoder = decoder(&dir);
        let golden = read_json(dir.with_extension("json"));
        for (number, case) in golden["cases"].as_array().unwrap().iter().enumerate() {
            let prompt = ids(&case["ids"]);
            let mut sequence = decoder.sequence(prompt.len(), prompt.len()).unwrap();
            let hidden = decoder.forward(&prompt, &mut sequence).unwrap();
            let mut worst = difference(
                &decoder.last_logits(&hidden).unwrap(),
                &floats(&case["last_logits"]),
            );
            let all: Vec<Vec<f32>> = decoder.logits(&hidden).unwrap().to_vec2().unwrap();
            let positions = case["positions"].as_array().unwrap();
            for (position, theirs) in positions
                .iter()
                .zip(case["position_logits"].as_array().unwrap())
            {
                let at = position.as_u64().unwrap() as usize;
                worst = worst.max(difference(&all[at], &floats(theirs)));
            }
            let theirs = ids(&case["greedy_ids"]);
            let (ours, last) = greedy(&decoder, &prompt, theirs.len());
            let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
            if same == theirs.len() {
                worst = worst.max(difference(&last, &floats(&case["final_logits"])));
            }
            if worst >= CLOSE || same < theirs.len() {
                let length = prompt.len();
                wrong.push(format!(
                    "{name} case {number} ({length} tokens): off by {worst}, {same} of {} tokens",
                    theirs.len()
                ));
            }
        }
    }
    assert!(models >= 20, "{models}");
    assert!(wrong.is_empty(), "{wrong:#?}");
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
        let Model { decoder, text } =
            Model::load(&Options::new(examples().join(name), Device::Cpu), &|_| {}).unwrap();
        let golden = read_json(examples().join(format!("golden/{name}.json")));
        for run in golden["runs"].as_array().unwrap() {
            let what = format!("{name}: {}", run["name"]);
            let prompt = ids(&run["ids"]);
            let mut sequence = decoder.sequence(prompt.len(), prompt.len()).unwrap();
            let hidden = decoder.forward(&prompt, &mut sequence).unwrap();
            let worst = difference(
                &decoder.last_logits(&hidden).unwrap(),
                &floats(&run["last_logits"]),
            );
            assert!(worst < CLOSE, "{what}: {worst}");
            let theirs = ids(&run["greedy_ids"]);
            let (ours, _) = greedy(&decoder, &prompt, theirs.len());
            assert_eq!(ours, theirs, "{what}");
            let ended = ours.last().is_some_and(|&id| text.is_eos(id));
            assert_eq!(ended, run["stop"] == "eos", "{what}");
        }
    }
}
