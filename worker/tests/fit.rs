//! What a plan counts with is what the worker takes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use pool_core::digest::Sha256;
use pool_core::fit;
use pool_core::model::Manifest;
use pool_core::weights::{Dtype, Quantization};
use pool_core::worker::{Supervise, WorkerSpec};
use serde_json::{Value, json};
use worker::cpu::{Cpu, Scratch};
use worker::model::{Checkpoint, Config, Decoder, Keep, Kernels, Memory, Network as _, Tensors};

use crate::support::{Binary, Folder, examples};

/// As a folder is when its model is registered.
fn manifest(dir: &Path) -> Manifest {
    let config = std::fs::read_to_string(dir.join("config.json"));
    let Ok(config) = config else {
        return pool_core::folder::read(dir).unwrap();
    };
    let entries = dir.read_dir().unwrap().map(|entry| entry.unwrap());
    let weights = entries.filter(|entry| {
        entry
            .path()
            .extension()
            .is_some_and(|it| it == "safetensors")
    });
    let files = weights.map(|entry| pool_core::model::ModelFile {
        path: entry.file_name().to_str().unwrap().parse().unwrap(),
        size: entry.metadata().unwrap().len(),
        sha256: Sha256::of("weights"),
    });
    let facts = pool_core::model::ModelFacts::from_config(&config).unwrap();
    Manifest::new(files.collect(), facts)
}

fn spec(dtype: Dtype, quantize: Option<Quantization>, context: Option<u32>) -> WorkerSpec {
    WorkerSpec {
        address: None,
        fleet: None,
        model: "m".parse().unwrap(),
        model_digest: Sha256::of("m"),
        device: pool_core::device::Device::Cpu,
        slots: 3,
        context,
        dtype,
        quantize,
        advertise: None,
        supervise: Supervise::None,
        ephemeral: false,
    }
}

fn models() -> Vec<PathBuf> {
    let tiny = ["llama", "llama-gguf", "mistral", "phi3", "qwen2"];
    let tiny = tiny.map(|name| examples().join(format!("tiny-{name}")));
    let random = examples().join("golden/random").read_dir().unwrap();
    let random = random.map(|entry| entry.unwrap().path());
    tiny.into_iter()
        .chain(random.filter(|path| path.is_dir()))
        .collect()
}

/// What weights are kept as.
const KEPT: [(Dtype, Option<Quantization>); 5] = [
    (Dtype::Auto, None),
    (Dtype::F32, None),
    (Dtype::Bf16, None),
    (Dtype::Auto, Some(Quantization::Q8_0)),
    (Dtype::Auto, Some(Quantization::Q4)),
];

#[test]
fn a_plan_counts_what_a_worker_takes() {
    for dir in models() {
        let manifest = manifest(&dir);
        for (dtype, quantize) in KEPT {
            let config = Config::read(&dir).unwrap();
            let checkpoint = Checkpoint::open(&dir).unwrap();
            let (context, keep) = (config.context, Keep { dtype, quantize });
            let cpu = Cpu::new(2).unwrap();
            let ops = match Kernels::new(cpu, keep, &config, context, 3, &checkpoint) {
                Ok(ops) => ops,
                // Rows that are no whole groups are refused.
                Err(error) if quantize.is_some() => {
                    assert!(error.to_string().contains("not a multiple"), "{error}");
                    continue;
                }
                Err(error) => panic!("{}: {error}", dir.display()),
            };
            let network = Decoder::load(config, context, 3, ops, &checkpoint, &|_| {}).unwrap();
            let need = fit::need(&manifest, &spec(dtype, quantize, None), Some(2)).unwrap();
            let counted = Memory {
                weights: need.weights,
                kv: need.kv,
                scratch: need.scratch,
            };
            let what = format!("{} {dtype} {quantize:?}", dir.display());
            assert_eq!(counted, network.memory(), "{what}");
        }
    }
}

#[test]
fn the_memory_of_the_kernels_is_counted() {
    for (threads, inputs, positions) in [(1, 1, 1), (2, 1000, 512), (3, 4097, 33)] {
        let scratch = Scratch::new(&Cpu::new(threads).unwrap(), inputs, positions);
        let counted = fit::cpu_scratch(inputs as u128, positions as u128, threads as u128);
        assert_eq!(scratch.bytes() as u128, counted);
    }
}

/// Candle's CPU device stands for a card: what tensors take does not depend on the device.
#[test]
fn a_plan_counts_what_a_worker_takes_on_a_card() {
    for dir in models() {
        let manifest = manifest(&dir);
        let config = Config::read(&dir).unwrap();
        let embedding = [config.vocab, config.hidden];
        let checkpoint = Checkpoint::open(&dir).unwrap();
        let source = checkpoint.source("model.embed_tokens.weight", &embedding);
        for (dtype, quantize) in KEPT {
            if quantize.is_some() && !config.hidden.is_multiple_of(32) {
                continue;
            }
            let (context, keep) = (config.context, Keep { dtype, quantize });
            let numbers = keep.numbers(*source.as_ref().unwrap());
            let config = config.clone();
            let ops = Tensors::new(Device::Cpu, numbers, keep, &config, context, 3).unwrap();
            let network = Decoder::load(config, context, 3, ops, &checkpoint, &|_| {}).unwrap();
            let mut spec = spec(dtype, quantize, None);
            spec.device = "cuda:0".parse().unwrap();
            let need = fit::need(&manifest, &spec, Some(2)).unwrap();
            let memory = network.memory();
            let what = format!("{} {dtype} {quantize:?}", dir.display());
            assert_eq!(
                (need.weights, need.kv),
                (memory.weights, memory.kv),
                "{what}"
            );
            // What a card takes for itself is no memory of a model.
            assert_eq!(need.scratch - memory.scratch, 512 << 20, "{what}");
        }
    }
}

/// A model of random weights in f32, about 100 MB of them.
fn large() -> Folder {
    let folder = Folder::copy();
    let (hidden, intermediate, layers) = (512, 2048, 6);
    folder.edit("config.json", |config| {
        config["hidden_size"] = json!(hidden);
        config["intermediate_size"] = json!(intermediate);
        config["num_hidden_layers"] = json!(layers);
        config["num_attention_heads"] = json!(8);
        config["num_key_value_heads"] = json!(4);
        config["head_dim"] = json!(64);
        config["max_position_embeddings"] = json!(1024);
        config["eos_token_id"] = Value::Null;
    });
    let mut weights: HashMap<String, Tensor> = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let values = Tensor::randn(0_f32, 0.02, shape, &Device::Cpu).unwrap();
        weights.insert(
            format!("{name}.weight"),
            values.to_dtype(DType::F32).unwrap(),
        );
    };
    add("model.embed_tokens".into(), &[768, hidden]);
    add("lm_head".into(), &[768, hidden]);
    add("model.norm".into(), &[hidden]);
    for layer in 0..layers {
        let name = |part: &str| format!("model.layers.{layer}.{part}");
        for (part, rows) in [("q", 512), ("k", 256), ("v", 256), ("o", 512)] {
            add(name(&format!("self_attn.{part}_proj")), &[rows, hidden]);
        }
        add(name("mlp.gate_proj"), &[intermediate, hidden]);
        add(name("mlp.up_proj"), &[intermediate, hidden]);
        add(name("mlp.down_proj"), &[hidden, intermediate]);
        add(name("input_layernorm"), &[hidden]);
        add(name("post_attention_layernorm"), &[hidden]);
    }
    candle_core::safetensors::save(&weights, folder.file("model.safetensors")).unwrap();
    folder
}

/// What a worker has in memory after it answered a prompt that fills its context, and what it says that its model takes:
/// in all, and without what steps are computed in.
async fn measured(dir: &Path) -> [u64; 3] {
    let (binary, client) =
        Binary::serve_with(dir, &["--model", "m", "--context", "600", "--slots", "1"]);
    client.until_ready().await;
    let mut body = json!({"job_id": "j", "prompt": "a b ".repeat(290)});
    body["max_tokens"] = json!(2);
    assert!(client.answer(&body).await.end.tokens_in > 512);
    let status = std::fs::read_to_string(format!("/proc/{}/status", binary.child.id()));
    let resident = pool_core::machine::field(&status.unwrap(), "VmRSS:").unwrap() * 1024;
    let memory = client.health().await.memory;
    [resident, memory.total, memory.weights + memory.kv]
}

/// What the program itself takes is in both.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_counted_is_what_is_measured() {
    let folder = large();
    let tiny = Folder::copy();
    tiny.edit("config.json", |config| {
        config["max_position_embeddings"] = json!(1024);
    });
    let [small, large] = [measured(tiny.path()).await, measured(folder.path()).await];
    let [took, counted, kept] = [0, 1, 2].map(|at| (large[at] - small[at]) as f64);
    assert!(kept > 1e8, "{kept}");
    // Steps are as large as the machine is fast, so that not all is touched that the largest would take.
    let range = 0.95 * kept..1.05 * counted;
    assert!(range.contains(&took), "{took}: {kept} of {counted}");
    let manifest = manifest(folder.path());
    let threads = std::thread::available_parallelism().unwrap().get();
    let mut spec = spec(Dtype::Auto, None, Some(600));
    spec.slots = 1;
    let need = fit::need(&manifest, &spec, u32::try_from(threads).ok()).unwrap();
    assert_eq!(need.total(), large[1]);
}
