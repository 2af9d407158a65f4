//! What the head of a GGUF file says of its model.

use std::io::Read;
use std::path::Path;

use super::error::Error;
use super::header::{Header, TableLine};
use super::kind::Kind;
use super::reader::{Arrays, Reader};
use super::value::{Array, Value};
use crate::fit::{self, Kept, Shape};
use crate::model::{Format, ModelFacts};

const ARCHITECTURE: &str = "general.architecture";
const KIND: &str = "general.file_type";
const TOKENS: &str = "tokenizer.ggml.tokens";

/// What [`ModelFacts::architecture`] is of the GGUF models that workers serve.
pub const ARCHITECTURES: [&str; 4] = ["llama", "mistral", "phi3", "qwen2"];

impl ModelFacts {
    /// Reads them from the start of a GGUF file of `size` bytes, which errors call `path`.
    ///
    /// Reads metadata and tensor table, [`LONGEST_HEAD`](super::LONGEST_HEAD) bytes at most, and keeps no list of tokens.
    /// A file that ends before they do is damaged. The weights are not looked at.
    pub fn from_gguf(path: &Path, size: u64, source: impl Read) -> Result<Self, Error> {
        let mut reader = Reader::new(path, source, size, Arrays::Counted);
        let header = Header::read(&mut reader)?;
        let mut stored = Stored::new();
        for number in 0..header.tensors {
            stored.add(&TableLine::read(&mut reader, number, header.tensors)?);
        }
        let said = Said { path, header };
        let name = said.need(ARCHITECTURE, "no text", Value::as_str)?;
        let key = |key: &str| format!("{name}.{key}");
        let vocabulary = match said.get(&key("vocab_size"), NO_NUMBER, whole)? {
            Some(rows) => rows,
            None => said.need(TOKENS, "no list", tokens)?,
        };
        let window = said.header.metadata.get(&key("attention.sliding_window"));
        let kind = said.get(KIND, NO_NUMBER, whole)?;
        let context = said.need(&key("context_length"), NO_NUMBER, whole)?;
        Ok(Self {
            format: Format::Gguf,
            context_length: context,
            shape: said.shape(name, context, &stored),
            vocab_size: vocabulary,
            quantization: kind.and_then(quantization).map(str::to_owned),
            // Mistral's models are `llama`; the window tells them apart.
            architecture: match (name, window.and_then(Value::as_u64)) {
                ("llama", Some(1..)) => "mistral".to_owned(),
                _ => name.to_owned(),
            },
        })
    }
}

struct Said<'a> {
    path: &'a Path,
    header: Header,
}

impl Said<'_> {
    /// None where a worker could not serve such a model.
    fn shape(&self, name: &str, named: u32, stored: &Stored) -> Option<Shape> {
        let value = |key: &str| self.header.metadata.get(&format!("{name}.{key}"));
        // A list with one for each layer stands for its value where all are the same.
        let number = |key: &str| {
            let value = value(key)?;
            let first = value
                .as_scalars()
                .and_then(|list| list.values().next()?.as_u64());
            first.or_else(|| value.as_u64())?.try_into().ok()
        };
        if !matches!(name, "llama" | "qwen2" | "phi3") {
            return None;
        }
        let (hidden, heads): (u32, u32) =
            (number("embedding_length")?, number("attention.head_count")?);
        let even = hidden.checked_div(heads)?;
        let scaling = value("rope.scaling.type").and_then(Value::as_str);
        let factor = value("rope.scaling.factor").and_then(Value::as_f64);
        let original = number("rope.scaling.original_context_length");
        Some(Shape {
            layers: number("block_count")?,
            hidden,
            intermediate: number("feed_forward_length")?,
            heads,
            kv_heads: number("attention.head_count_kv").unwrap_or(heads),
            head_dim: number("attention.key_length").unwrap_or(even),
            vocab: stored.vocab?,
            tied: !stored.has_output,
            biases: stored.biases,
            context: fit::reach(named, scaling.unwrap_or_default(), factor, original),
            as_stored: Some(stored.bytes?),
            matrices_as_stored: Some(stored.matrices()),
            is_f32: stored.is_f32,
        })
    }

    /// What a key says; an error that it is `wrong` where `read` has no answer.
    fn get<'a, T>(
        &'a self,
        key: &str,
        wrong: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.header.metadata.get(key) else {
            return Ok(None);
        };
        let place = || format!("the key `{}`", key.escape_debug());
        let damaged = || Error::damaged(self.path, place(), format!("it is {wrong}"));
        read(value).ok_or_else(damaged).map(Some)
    }

    fn need<'a, T>(
        &'a self,
        key: &str,
        wrong: &str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<T, Error> {
        let missing = || Error::missing(self.path, format!("key `{}`", key.escape_debug()));
        self.get(key, wrong, read)?.ok_or_else(missing)
    }
}

/// What the tensor table says of the memory that the weights take.
struct Stored {
    /// Bytes as kept on a CPU; none where no worker reads one of them.
    bytes: Option<u64>,
    /// Bytes of the matrices in blocks, and how many numbers those are that are not, those of the vocabulary left out.
    blocks: u64,
    numbers: u64,
    /// The embedding is f32.
    is_f32: bool,
    /// Rows of the embedding.
    vocab: Option<u32>,
    has_output: bool,
    /// Numbers of the biases of the first layer.
    biases: u32,
}

impl Stored {
    fn new() -> Self {
        Self {
            bytes: Some(0),
            blocks: 0,
            numbers: 0,
            is_f32: false,
            vocab: None,
            has_output: false,
            biases: 0,
        }
    }

    fn add(&mut self, line: &TableLine) {
        let kind = Kind::from_id(line.kind).ok();
        let is_vocabulary = matches!(&*line.name, "token_embd.weight" | "output.weight");
        let bytes = match line.sizes[..] {
            [columns, rows] => {
                if let Some(kind) = kind.filter(|_| !is_vocabulary) {
                    self.add_matrix(kind, columns, rows);
                }
                kind.and_then(|kind| fit::matrix(kept(kind), [rows, columns]))
            }
            [length] => length.checked_mul(4),
            _ => None,
        };
        self.bytes = match (self.bytes, bytes) {
            (Some(sum), Some(bytes)) => sum.checked_add(bytes),
            _ => None,
        };
        if line.name == "token_embd.weight" {
            self.vocab = line.sizes.get(1).and_then(|&rows| rows.try_into().ok());
            self.is_f32 = kind == Some(Kind::F32);
        }
        self.has_output |= line.name == "output.weight";
        if line
            .name
            .strip_prefix("blk.0.")
            .is_some_and(|name| name.rsplit('.').next() == Some("bias"))
        {
            let length = line.sizes.iter().copied().next().unwrap_or_default();
            let length = length.try_into().unwrap_or(u32::MAX);
            self.biases = self.biases.saturating_add(length);
        }
    }

    fn add_matrix(&mut self, kind: Kind, columns: u64, rows: u64) {
        let (sum, row) = match kind.block_len() as u64 {
            1 => (&mut self.numbers, columns),
            block => {
                let row = columns.div_ceil(block);
                let row = row.saturating_mul(kind.block_bytes() as u64);
                (&mut self.blocks, row)
            }
        };
        *sum = sum.saturating_add(row.saturating_mul(rows));
    }

    /// Bytes of the matrices on a GPU.
    fn matrices(&self) -> u64 {
        let number = if self.is_f32 { 4 } else { 2 };
        self.blocks
            .saturating_add(self.numbers.saturating_mul(number))
    }
}

/// How a CPU keeps a matrix.
fn kept(kind: Kind) -> Kept {
    match kind {
        Kind::F32 => Kept::F32,
        Kind::F16 | Kind::BF16 => Kept::Half,
        Kind::Q4_0 => Kept::Q4,
        Kind::Q8_0 | Kind::Q5K | Kind::Q6K => Kept::Q8,
        Kind::Q4K => Kept::Q4Min,
    }
}

const NO_NUMBER: &str = "no whole number below 2³²";

fn whole(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

fn tokens(value: &Value) -> Option<u32> {
    value.as_array().map(Array::len)?.try_into().ok()
}

/// The kind of most of the weights, where it is a quantised one: `enum llama_ftype` in `llama.h`.
fn quantization(number: u32) -> Option<&'static str> {
    Some(match number {
        2 => "q4_0",
        3 => "q4_1",
        7 => "q8_0",
        8 => "q5_0",
        9 => "q5_1",
        10 => "q2_k",
        11 => "q3_k_s",
        12 => "q3_k_m",
        13 => "q3_k_l",
        14 => "q4_k_s",
        15 => "q4_k_m",
        16 => "q5_k_s",
        17 => "q5_k_m",
        18 => "q6_k",
        _ => return None,
    })
}
