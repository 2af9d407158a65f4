use std::ops::Range;

use super::model::{model, open};
use super::on_disk;
use super::writer::f32s;
use crate::gguf::dequantise::dequantise;
use crate::gguf::{Architecture, Checkpoint, Kind};

#[test]
fn names_are_those_of_hugging_face() {
    let names = |architecture| -> Vec<String> {
        let checkpoint = open(&model(architecture)).unwrap();
        checkpoint.weights().keys().cloned().collect()
    };
    let first = |names: &[String]| -> Vec<String> {
        let prefix = "model.layers.0.";
        let layer = names.iter().filter_map(|name| name.strip_prefix(prefix));
        layer.map(str::to_owned).collect()
    };
    let llama = names(Architecture::Llama);
    assert!(llama.contains(&"model.embed_tokens.weight".to_owned()));
    assert!(llama.contains(&"model.norm.weight".to_owned()));
    assert_eq!(
        first(&llama),
        [
            "input_layernorm.weight",
            "mlp.down_proj.weight",
            "mlp.gate_proj.weight",
            "mlp.up_proj.weight",
            "post_attention_layernorm.weight",
            "self_attn.k_proj.weight",
            "self_attn.o_proj.weight",
            "self_attn.q_proj.weight",
            "self_attn.v_proj.weight",
        ]
    );
    let phi3 = first(&names(Architecture::Phi3));
    assert!(phi3.contains(&"self_attn.qkv_proj.weight".to_owned()));
    assert!(phi3.contains(&"mlp.gate_up_proj.weight".to_owned()));
    assert!(first(&names(Architecture::Qwen2)).contains(&"self_attn.k_proj.bias".to_owned()));
}

/// `LlamaModel.permute` of llama.cpp's converter, on the numbers of rows: `reshape(heads, 2, half).swapaxes(1, 2)`.
fn permuted(rows: usize, heads: usize) -> Vec<usize> {
    let half = rows / heads / 2;
    let mut order = Vec::new();
    for head in 0..heads {
        for j in 0..half {
            order.extend([head * 2 * half + j, head * 2 * half + half + j]);
        }
    }
    order
}

#[test]
fn rows_of_queries_and_keys_are_put_back_in_order() {
    let mut writer = model(Architecture::Llama);
    let mut rows_of = |name: &str, heads: usize| {
        let entry = writer
            .tensors
            .iter_mut()
            .find(|entry| entry.name == name)
            .unwrap();
        let original: Vec<Vec<u8>> = entry.data.chunks(34).map(<[u8]>::to_vec).collect();
        let order = permuted(original.len(), heads);
        entry.data = order
            .iter()
            .flat_map(|&row| original[row].clone())
            .collect();
        original
    };
    let q = rows_of("blk.1.attn_q.weight", 4);
    let k = rows_of("blk.1.attn_k.weight", 2);
    let bias: Vec<f32> = (0_u8..16).map(f32::from).collect();
    let stored: Vec<f32> = permuted(16, 2).iter().map(|&row| bias[row]).collect();
    writer.tensor("blk.1.attn_k.bias", &[16], Kind::F32, &f32s(&stored));
    let (_dir, path) = on_disk(&writer.bytes());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let name = |part: &str| format!("model.layers.1.self_attn.{part}");
    assert_eq!(
        checkpoint.blocks(&name("q_proj.weight"), 0..32).unwrap(),
        q.concat()
    );
    assert_eq!(
        checkpoint.blocks(&name("k_proj.weight"), 0..16).unwrap(),
        k.concat()
    );
    // Any range, within a head and across.
    for start in 0..=16 {
        for end in start..=16 {
            let blocks = checkpoint
                .blocks(&name("k_proj.weight"), start..end)
                .unwrap();
            assert_eq!(blocks, k[start..end].concat(), "{start}..{end}");
        }
    }
    let mut expected = vec![0.0; 32];
    dequantise(Kind::Q8_0, &q[5], &mut expected);
    assert_eq!(
        checkpoint.rows(&name("q_proj.weight"), 5..6).unwrap(),
        expected
    );
    assert_eq!(checkpoint.rows(&name("k_proj.bias"), 0..1).unwrap(), bias);
    assert!(checkpoint.rows(&name("q_proj.weight"), 30..33).is_err());
    assert!(checkpoint.rows(&name("q_proj.bias"), 0..1).is_err());
    let backwards = Range { start: 20, end: 3 };
    assert!(checkpoint.rows(&name("q_proj.weight"), backwards).is_err());
}

#[test]
fn rows_of_other_architectures_stay_as_they_are() {
    let writer = model(Architecture::Qwen2);
    let (_dir, path) = on_disk(&writer.bytes());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let entry = writer
        .tensors
        .iter()
        .find(|it| it.name == "blk.0.attn_q.weight")
        .unwrap();
    let blocks = checkpoint.blocks("model.layers.0.self_attn.q_proj.weight", 0..32);
    assert_eq!(blocks.unwrap(), entry.data);
}
