use proptest::prelude::*;

use super::*;
use crate::digest::Sha256;
use crate::model::{ModelFacts, ModelFile};

/// Qwen2.5-0.5B-Instruct: 494,032,768 parameters, the vocabulary counted once, in bf16.
const QWEN: &str = r#"{
    "model_type": "qwen2", "vocab_size": 151936, "hidden_size": 896, "intermediate_size": 4864,
    "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
    "max_position_embeddings": 32768, "tie_word_embeddings": true
}"#;

fn manifest(config: &str, weights: u64) -> Manifest {
    let file = |path: &str, size| ModelFile {
        path: path.parse().unwrap(),
        size,
        sha256: Sha256::of(path),
    };
    let files = vec![file("config.json", 659), file("model.safetensors", weights)];
    Manifest::new(files, ModelFacts::from_config(config).unwrap())
}

fn spec(device: &str) -> WorkerSpec {
    WorkerSpec {
        address: None,
        fleet: None,
        model: "qwen".parse().unwrap(),
        model_digest: Sha256::of("qwen"),
        device: device.parse().unwrap(),
        slots: 4,
        context: Some(2048),
        dtype: Dtype::Auto,
        quantize: None,
        advertise: None,
        supervise: crate::worker::Supervise::None,
        ephemeral: false,
    }
}

#[test]
fn a_model_is_counted_as_its_files_have_it() {
    let qwen = manifest(QWEN, 988_097_824);
    // Norms and biases are kept as f32: 43,904 and 27,648 of them.
    let vectors = 2 * (49 * 896 + 24 * 1152);
    let expected = Need {
        weights: 2 * 494_032_768 + vectors,
        kv: 2 * 2 * 24 * 2 * 64 * 2048 * 4,
        scratch: need(&qwen, &spec("cpu"), Some(8)).unwrap().scratch,
    };
    assert_eq!(need(&qwen, &spec("cpu"), Some(8)), Some(expected));
    let wide = manifest(QWEN, 4 * 494_032_768 + 30_000);
    let wide = need(&wide, &spec("cpu"), Some(8)).unwrap();
    assert_eq!((wide.weights, wide.kv), (4 * 494_032_768, 2 * expected.kv));
    assert_eq!(wide.scratch, expected.scratch);
}

#[test]
fn what_is_asked_for_counts_before_what_is_stored() {
    let qwen = manifest(QWEN, 988_097_824);
    let weights = |dtype, quantize| {
        let spec = WorkerSpec {
            dtype,
            quantize,
            ..spec("cpu")
        };
        need(&qwen, &spec, None).unwrap().weights
    };
    let vectors = 4 * (49 * 896 + 24 * 1152);
    let vocabulary = 151_936 * 896;
    let layers = 494_032_768 - vectors / 4 - vocabulary;
    assert_eq!(weights(Dtype::F32, None), 4 * 494_032_768);
    assert_eq!(
        weights(Dtype::F16, None),
        2 * (vocabulary + layers) + vectors
    );
    let eight = (vocabulary + layers) * 34 / 32 + vectors;
    assert_eq!(weights(Dtype::Auto, Some(Quantization::Q8_0)), eight);
    let four = vocabulary * 34 / 32 + layers * 18 / 32 + vectors;
    assert_eq!(weights(Dtype::Auto, Some(Quantization::Q4)), four);
}

#[test]
fn a_gpu_keeps_no_panels() {
    let qwen = manifest(QWEN, 988_097_824);
    let need = need(&qwen, &spec("cuda:0"), None).unwrap();
    assert_eq!(need.weights, 2 * 494_032_768);
    assert_eq!(need.kv, 2 * 2 * 24 * 2 * 64 * 2048 * 4);
}

#[test]
fn a_gpu_keeps_matrices_in_blocks_and_the_vocabulary_as_numbers() {
    let qwen = manifest(QWEN, 988_097_824);
    let (vocabulary, vectors) = (151_936 * 896, 24 * (2 * 896 + 896 + 2 * 128) + 896);
    let matrices = 494_032_768 - vocabulary - vectors;
    for (quantize, block) in [(Quantization::Q8_0, 34), (Quantization::Q4, 18)] {
        let spec = WorkerSpec {
            quantize: Some(quantize),
            ..spec("cuda:0")
        };
        let need = need(&qwen, &spec, None).unwrap();
        let expected = matrices / 32 * block + 2 * (vocabulary + vectors);
        assert_eq!(need.weights, expected);
    }
}

#[test]
fn blocks_of_a_file_lie_on_a_gpu_as_they_are_and_its_vocabulary_as_numbers() {
    let mut qwen = manifest(QWEN, 400_000_000);
    let need = |qwen: &Manifest| need(qwen, &spec("cuda:0"), None).unwrap();
    let shape = qwen.facts.shape.as_mut().unwrap();
    let numbers = 151_936 * 896 + shape.vectors();
    // As a lock has it from before the blocks were counted apart: too much.
    shape.as_stored = Some(390_000_000);
    let halves = need(&qwen);
    assert_eq!(halves.weights, 390_000_000 + 2 * numbers);
    let shape = qwen.facts.shape.as_mut().unwrap();
    (shape.matrices_as_stored, shape.is_f32) = (Some(200_000_000), true);
    let wide = need(&qwen);
    assert_eq!(wide.weights, 200_000_000 + 4 * numbers);
    assert_eq!(wide.kv, 2 * halves.kv);
}

#[test]
fn a_model_of_no_known_shape_is_guessed() {
    let other = QWEN.replace("qwen2", "mamba");
    let manifest = manifest(&other, 1_000_000);
    let guess = Estimate {
        bytes: 2 * 1_000_659 + (256 << 20),
        is_guess: true,
    };
    assert_eq!(Estimate::of(&manifest, &spec("cpu"), None), guess);
}

#[test]
fn a_context_is_as_long_as_its_scaling_reaches() {
    let context = |scaling: &str| {
        let config = QWEN.replacen('{', &format!("{{ \"rope_scaling\": {scaling},"), 1);
        Shape::from_config(&config).unwrap().context
    };
    assert_eq!(context("null"), 32_768);
    assert_eq!(context(r#"{"type": "linear", "factor": 2.0}"#), 65_536);
    assert_eq!(
        context(r#"{"rope_type": "dynamic", "factor": 0.5}"#),
        32_768
    );
    let yarn = r#"{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16384}"#;
    assert_eq!(context(yarn), 65_536);
    assert_eq!(context(r#"{"rope_type": "llama3", "factor": 8.0}"#), 32_768);
}

proptest! {
    /// A lock file may say anything.
    #[test]
    fn no_shape_is_too_large_to_be_counted(numbers in any::<[u32; 8]>(), slots in 1u32.., context in any::<u32>()) {
        let shape = Shape {
            layers: numbers[0], hidden: numbers[1], intermediate: numbers[2], heads: numbers[3],
            kv_heads: numbers[4], head_dim: numbers[5], vocab: numbers[6], tied: false,
            biases: numbers[7], context, as_stored: None,
            matrices_as_stored: None,
            is_f32: false,
        };
        let mut manifest = manifest(QWEN, 1000);
        manifest.facts.shape = Some(shape);
        for device in ["cpu", "cuda:0"] {
            for quantize in [None, Some(Quantization::Q4)] {
                let spec = WorkerSpec { slots, context: None, quantize, ..spec(device) };
                let estimate = Estimate::of(&manifest, &spec, Some(u32::MAX));
                prop_assert!(estimate.bytes > 0);
            }
        }
    }
}
