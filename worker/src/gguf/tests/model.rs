use super::writer::Writer;
use super::{noise, on_disk};
use crate::gguf::{Architecture, Checkpoint, Error, Kind};

pub const HIDDEN: u64 = 32;
const HEADS: u64 = 4;
const KV_HEADS: u64 = 2;
const HEAD: u64 = 8;
const INNER: u64 = 64;
pub const VOCABULARY: usize = 270;

/// A whole model of two layers with random weights and a byte-level tokenizer.
pub fn model(architecture: Architecture) -> Writer {
    let name = architecture.name();
    let mut writer = Writer::new();
    writer.string("general.architecture", name);
    for (key, value) in [
        ("embedding_length", HIDDEN),
        ("block_count", 2),
        ("feed_forward_length", INNER),
        ("attention.head_count", HEADS),
        ("attention.head_count_kv", KV_HEADS),
        ("context_length", 128),
        ("rope.dimension_count", HEAD),
    ] {
        writer.u32(&format!("{name}.{key}"), value as u32);
    }
    writer.f32(&format!("{name}.attention.layer_norm_rms_epsilon"), 1e-5);
    writer.f32(&format!("{name}.rope.freq_base"), 500_000.0);
    super::text::add_byte_level(&mut writer, VOCABULARY);
    let mut noise = noise(3);
    let mut add = |writer: &mut Writer, name: &str, shape: &[u64], kind: Kind| {
        let bytes = shape.iter().product::<u64>() as usize / kind.block_len() * kind.block_bytes();
        let data: Vec<u8> = (0..bytes).map(|_| noise() as u8 & 0x3f).collect();
        writer.tensor(name, shape, kind, &data);
    };
    let vocabulary = VOCABULARY as u64;
    add(
        &mut writer,
        "token_embd.weight",
        &[vocabulary, HIDDEN],
        Kind::Q8_0,
    );
    add(&mut writer, "output_norm.weight", &[HIDDEN], Kind::F32);
    for layer in 0..2 {
        let mut add = |part: &str, shape: &[u64], kind| {
            add(&mut writer, &format!("blk.{layer}.{part}"), shape, kind);
        };
        add("attn_norm.weight", &[HIDDEN], Kind::F32);
        add("ffn_norm.weight", &[HIDDEN], Kind::F32);
        add("attn_output.weight", &[HIDDEN, HEADS * HEAD], Kind::Q4_0);
        add("ffn_down.weight", &[HIDDEN, INNER], Kind::F16);
        if architecture == Architecture::Phi3 {
            add(
                "attn_qkv.weight",
                &[(HEADS + 2 * KV_HEADS) * HEAD, HIDDEN],
                Kind::Q8_0,
            );
            add("ffn_up.weight", &[2 * INNER, HIDDEN], Kind::Q8_0);
            continue;
        }
        for (part, rows) in [
            ("q", HEADS * HEAD),
            ("k", KV_HEADS * HEAD),
            ("v", KV_HEADS * HEAD),
        ] {
            add(&format!("attn_{part}.weight"), &[rows, HIDDEN], Kind::Q8_0);
            if architecture == Architecture::Qwen2 {
                add(&format!("attn_{part}.bias"), &[rows], Kind::F32);
            }
        }
        add("ffn_gate.weight", &[INNER, HIDDEN], Kind::BF16);
        add("ffn_up.weight", &[INNER, HIDDEN], Kind::BF16);
    }
    writer
}

pub fn open(writer: &Writer) -> Result<Checkpoint, Error> {
    let (_dir, path) = on_disk(&writer.bytes());
    Checkpoint::open(&path)
}
