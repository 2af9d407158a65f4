//! The same shape as a GGUF file for the peer, bf16 and quantised.
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>, version 3, little-endian.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::peer::Peer;
use super::random::Weights;
use super::shape::Shape;
use super::tensors::Tensor;
use super::weights::Kept;
use crate::say;

const SEED: u64 = 1;
/// Where each tensor begins: the format's default.
const ALIGNMENT: u64 = 32;
const U32: u32 = 4;
const F32: u32 = 6;
const STRING: u32 = 8;
const TENSOR_F32: u32 = 0;
const TENSOR_BF16: u32 = 30;
/// What llama.cpp calls a file that is mostly bf16.
const FILE_BF16: u32 = 32;

/// The file of a shape under `models`, written when it is not there.
pub fn file(models: &Path, shape: &Shape, kept: Kept, peer: &Peer) -> anyhow::Result<PathBuf> {
    let path = models.join(format!("{}-{}.gguf", shape.name, kept.name()));
    if path.is_file() {
        return Ok(path);
    }
    say(&format!("models: writing {}", path.display()));
    // By way of a temporary name: a file that is there is complete.
    let part = path.with_extension("part.gguf");
    match kept {
        Kept::Bf16 => {
            write(&part, shape).with_context(|| format!("cannot write {}", part.display()))?;
        }
        Kept::Q8_0 => quantise(&file(models, shape, Kept::Bf16, peer)?, &part, peer)?,
    }
    std::fs::rename(&part, &path)?;
    Ok(path)
}

fn quantise(from: &Path, to: &Path, peer: &Peer) -> anyhow::Result<()> {
    let mut command = Command::new(peer.program("llama-quantize"));
    command.args([from, to]).args(["Q8_0", "2"]);
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let last = text.lines().last().unwrap_or_default().to_owned();
        bail!("llama-quantize failed ({}): {last}", output.status);
    }
    Ok(())
}

fn write(path: &Path, shape: &Shape) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(&head(shape))?;
    let mut weights = Weights::new(SEED);
    for tensor in shape.tensors() {
        if tensor.norm {
            file.write_all(&1_f32.to_le_bytes().repeat(tensor.count()))?;
        } else if tensor.sizes.len() == 1 {
            // Weights of vectors stay f32 in GGUF; their values cost nothing.
            file.write_all(&0.02_f32.to_le_bytes().repeat(tensor.count()))?;
        } else {
            weights.write(tensor.count(), &mut file)?;
        }
        let over = bytes(&tensor) % ALIGNMENT;
        if over > 0 {
            file.write_all(&vec![0; (ALIGNMENT - over) as usize])?;
        }
    }
    file.into_inner()?.sync_all()?;
    Ok(())
}

fn bytes(tensor: &Tensor) -> u64 {
    let size = if tensor.sizes.len() == 1 { 4 } else { 2 };
    tensor.count() as u64 * size
}

/// Everything before the weights, up to their alignment.
fn head(shape: &Shape) -> Vec<u8> {
    let mut pairs = Pairs::default();
    pairs.text("general.architecture", shape.family);
    pairs.text("general.name", shape.title);
    // The measuring programs make up their own tokens.
    pairs.text("tokenizer.ggml.model", "no_vocab");
    pairs.number("general.file_type", FILE_BF16);
    for (key, value) in [
        ("context_length", shape.context),
        ("embedding_length", shape.hidden),
        ("block_count", shape.layers),
        ("feed_forward_length", shape.intermediate),
        ("attention.head_count", shape.heads),
        ("attention.head_count_kv", shape.kv_heads),
        ("rope.dimension_count", shape.head_dim()),
        ("vocab_size", shape.vocab),
    ] {
        pairs.number(&format!("{}.{key}", shape.family), value as u32);
    }
    let family = shape.family;
    pairs.float(
        &format!("{family}.attention.layer_norm_rms_epsilon"),
        shape.eps,
    );
    pairs.float(&format!("{family}.rope.freq_base"), shape.theta);

    let tensors = shape.tensors();
    let mut head = b"GGUF".to_vec();
    head.extend(3_u32.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend(pairs.count.to_le_bytes());
    head.extend(pairs.bytes);
    let mut offset = 0_u64;
    for tensor in &tensors {
        text(&mut head, &tensor.gguf);
        head.extend((tensor.sizes.len() as u32).to_le_bytes());
        // The dimension that lies together comes first.
        for size in tensor.sizes.iter().rev() {
            head.extend((*size as u64).to_le_bytes());
        }
        let kind = if tensor.sizes.len() == 1 {
            TENSOR_F32
        } else {
            TENSOR_BF16
        };
        head.extend(kind.to_le_bytes());
        head.extend(offset.to_le_bytes());
        offset += bytes(tensor).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT as usize), 0);
    head
}

fn text(to: &mut Vec<u8>, text: &str) {
    to.extend((text.len() as u64).to_le_bytes());
    to.extend(text.as_bytes());
}

/// Keys and their values.
#[derive(Default)]
struct Pairs {
    count: u64,
    bytes: Vec<u8>,
}

impl Pairs {
    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, STRING);
        text(&mut self.bytes, value);
    }

    fn number(&mut self, key: &str, value: u32) {
        self.key(key, U32);
        self.bytes.extend(value.to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f32) {
        self.key(key, F32);
        self.bytes.extend(value.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::shape::QWEN;

    #[test]
    fn a_file_has_its_head_and_every_tensor_aligned() {
        let dir = tempfile::tempdir().unwrap();
        let small = Shape {
            hidden: 56,
            layers: 2,
            heads: 2,
            kv_heads: 1,
            intermediate: 96,
            vocab: 300,
            ..QWEN
        };
        let path = dir.path().join("small.gguf");
        write(&path, &small).unwrap();
        let head = head(&small);
        let written = std::fs::read(&path).unwrap();
        assert_eq!(written[..head.len()], head);
        let tensors = small.tensors();
        let data = tensors
            .iter()
            .map(|tensor| bytes(tensor).next_multiple_of(ALIGNMENT));
        assert_eq!(written.len() as u64, head.len() as u64 + data.sum::<u64>());
        // A norm of ones lies where the head says.
        let embedding = 300 * 56 * 2_u64;
        let norm = head.len() + embedding.next_multiple_of(ALIGNMENT) as usize;
        assert_eq!(written[norm..norm + 4], 1_f32.to_le_bytes());
    }
}
