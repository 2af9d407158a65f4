use serde_json::{Value as Json, json};

use super::Change;
use super::model::{HIDDEN, VOCABULARY, model, open};
use super::writer::{Writer, f32s};
use crate::gguf::{Architecture, Kind};

fn config(writer: &Writer) -> Json {
    open(writer).unwrap().config().clone()
}

fn refusal(writer: &Writer) -> String {
    open(writer).err().expect("the model was taken").to_string()
}

#[test]
fn the_configuration_is_the_one_of_the_checkpoint() {
    let config = config(&model(Architecture::Llama));
    let expected = json!({
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 128,
        "tie_word_embeddings": true,
        "attention_bias": false,
        "mlp_bias": false,
        "rope_theta": 500_000.0,
        "rope_scaling": null,
        "bos_token_id": 256,
        "eos_token_id": [257],
    });
    assert_eq!(config, expected);
}

#[test]
fn what_a_family_has_of_its_own_is_said() {
    let mut llama = model(Architecture::Llama);
    llama
        .u32("llama.attention.key_length", 16)
        .u32("llama.attention.value_length", 16)
        .u32("llama.rope.dimension_count", 16)
        .u32("llama.attention.sliding_window", 40)
        .u32("tokenizer.ggml.eot_token_id", 258)
        .u32("tokenizer.ggml.eom_token_id", 257)
        .tensor(
            "output.weight",
            &[VOCABULARY as u64, HIDDEN],
            Kind::F32,
            &vec![0; VOCABULARY * 128],
        );
    let said = config(&llama);
    assert_eq!(said["head_dim"], 16);
    assert_eq!(
        (&said["model_type"], &said["sliding_window"]),
        (&json!("mistral"), &json!(40))
    );
    assert_eq!(said["eos_token_id"], json!([257, 258]));
    assert_eq!(said["tie_word_embeddings"], false);

    let mut phi3 = model(Architecture::Phi3);
    phi3.u32("phi3.attention.sliding_window", 0)
        .u32("phi3.rope.dimension_count", 6);
    let said = config(&phi3);
    assert_eq!(said["sliding_window"], Json::Null);
    assert_eq!(said["partial_rotary_factor"], 0.75);
    assert_eq!(
        config(phi3.u32("phi3.attention.sliding_window", 47))["sliding_window"],
        47
    );

    let mut biased = model(Architecture::Llama);
    biased.tensor("blk.0.attn_q.bias", &[32], Kind::F32, &[0; 128]);
    assert_eq!(config(&biased)["attention_bias"], true);
    // One number for each layer, all the same.
    assert_eq!(
        config(biased.i32s("llama.attention.head_count_kv", &[2, 2]))["num_key_value_heads"],
        2
    );
}

#[test]
fn every_scaling_of_positions_is_said_as_the_config_says_it() {
    let scaling = |change: &dyn Fn(&mut Writer)| {
        let mut writer = model(Architecture::Llama);
        change(&mut writer);
        config(&writer)["rope_scaling"].clone()
    };
    let linear = json!({ "rope_type": "linear", "factor": 2.5 });
    assert_eq!(
        scaling(&|it| {
            it.string("llama.rope.scaling.type", "none");
        }),
        Json::Null
    );
    assert_eq!(
        scaling(&|it| {
            it.f32("llama.rope.scale_linear", 2.5);
        }),
        linear
    );
    assert_eq!(
        scaling(&|it| {
            it.string("llama.rope.scaling.type", "linear")
                .f32("llama.rope.scaling.factor", 2.5);
        }),
        linear
    );
    assert_eq!(
        scaling(&|it| {
            it.string("llama.rope.scaling.type", "yarn")
                .f32("llama.rope.scaling.factor", 4.0)
                .u32("llama.rope.scaling.original_context_length", 32)
                .f32("llama.rope.scaling.yarn_beta_fast", 16.0);
        }),
        json!({ "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 16.0 })
    );
    // Llama 3: factors for the frequencies in a tensor.
    assert_eq!(
        scaling(&|it| {
            it.tensor(
                "rope_freqs.weight",
                &[4],
                Kind::F32,
                &f32s(&[1.0, 1.1, 7.3, 8.0]),
            );
        }),
        json!({
            "rope_type": "longrope",
            "short_factor": [1.0, 1.1, 7.3, 8.0],
            "long_factor": [1.0, 1.1, 7.3, 8.0],
            "attention_factor": 1.0,
            "original_max_position_embeddings": 128,
        })
    );
    let mut phi3 = model(Architecture::Phi3);
    phi3.u32("phi3.rope.scaling.original_context_length", 64)
        .f32("phi3.rope.scaling.attn_factor", 1.19)
        .tensor(
            "rope_factors_short.weight",
            &[4],
            Kind::F32,
            &f32s(&[1.0, 1.0, 1.2, 1.3]),
        )
        .tensor(
            "rope_factors_long.weight",
            &[4],
            Kind::F32,
            &f32s(&[1.5, 2.0, 3.0, 60.1]),
        );
    let said = config(&phi3);
    assert_eq!(said["original_max_position_embeddings"], 64);
    assert_eq!(
        said["rope_scaling"],
        json!({
            "rope_type": "longrope",
            "short_factor": [1.0, 1.0, 1.2, 1.3],
            "long_factor": [1.5, 2.0, 3.0, 60.1],
            "attention_factor": 1.19,
            "original_max_position_embeddings": 64,
        })
    );
}

#[test]
fn what_would_be_computed_wrongly_is_refused_by_name() {
    let changes: [Change; 20] = [
        ("no key `general.architecture`", &|it| {
            it.remove("general.architecture");
        }),
        ("`mamba`", &|it| {
            it.string("general.architecture", "mamba");
        }),
        ("`Unsigned(3)`", &|it| {
            it.u32("general.architecture", 3);
        }),
        ("no key `llama.block_count`", &|it| {
            it.remove("llama.block_count");
        }),
        ("`llama.block_count`", &|it| {
            it.string("llama.block_count", "2");
        }),
        ("no heads", &|it| {
            it.u32("llama.attention.head_count", 0);
        }),
        ("layer_norm_rms_epsilon", &|it| {
            it.f32("llama.attention.layer_norm_rms_epsilon", f32::NAN);
        }),
        ("`llama.expert_count`", &|it| {
            it.u32("llama.expert_count", 8);
        }),
        ("`llama.attention.value_length`", &|it| {
            it.u32("llama.attention.value_length", 4);
        }),
        ("another number for each layer", &|it| {
            it.i32s("llama.attention.head_count_kv", &[2, 4]);
        }),
        ("270 rows", &|it| {
            it.u32("llama.vocab_size", 300);
        }),
        ("4 of 8 dimensions", &|it| {
            it.u32("llama.rope.dimension_count", 4);
        }),
        ("`ntk`", &|it| {
            it.string("llama.rope.scaling.type", "ntk");
        }),
        ("no key `llama.rope.scaling.factor`", &|it| {
            it.string("llama.rope.scaling.type", "yarn");
        }),
        ("no tensor `rope_factors_short.weight`", &|it| {
            it.string("llama.rope.scaling.type", "longrope");
        }),
        ("not [4] of F32", &|it| {
            it.tensor("rope_freqs.weight", &[3], Kind::F32, &f32s(&[1.0; 3]));
        }),
        ("divides no frequency", &|it| {
            it.tensor(
                "rope_freqs.weight",
                &[4],
                Kind::F32,
                &f32s(&[1.0, 0.0, 1.0, 1.0]),
            );
        }),
        ("`blk.0.attn_q_norm.weight`", &|it| {
            it.tensor(
                "blk.0.attn_q_norm.weight",
                &[8],
                Kind::F32,
                &f32s(&[1.0; 8]),
            );
        }),
        ("`blk.2.ffn_norm.weight`", &|it| {
            it.tensor("blk.2.ffn_norm.weight", &[32], Kind::F32, &f32s(&[1.0; 32]));
        }),
        ("`blk.01.ffn_norm.weight`", &|it| {
            it.tensor(
                "blk.01.ffn_norm.weight",
                &[32],
                Kind::F32,
                &f32s(&[1.0; 32]),
            );
        }),
    ];
    for (named, change) in changes {
        let mut writer = model(Architecture::Llama);
        change(&mut writer);
        let refusal = refusal(&writer);
        assert!(refusal.contains(named), "{named}: {refusal}");
    }
    let mut writer = model(Architecture::Llama);
    writer
        .u32("llama.attention.head_count", 5)
        .u32("llama.attention.key_length", 8);
    assert!(refusal(&writer).contains("5 heads"), "{}", refusal(&writer));
}
