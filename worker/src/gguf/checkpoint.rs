//! A GGUF file as the Hugging Face checkpoint that it was made from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use serde_json::Value as Json;

use super::config::{self, Architecture, Keys};
use super::file::File;
use super::head::Tensor;
use super::names::{self, ROPE_FREQS, ROPE_LONG, ROPE_SHORT};
use super::text::Text;
use pool_core::gguf::Error;

/// Weights by their Hugging Face names, rows in the order of Hugging Face; configuration and words beside them.
pub struct Checkpoint {
    file: File,
    config: Json,
    weights: BTreeMap<String, Weight>,
}

/// One tensor under its Hugging Face name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Shape and kind.
    pub tensor: Tensor,
    /// Its name in the file.
    pub gguf_name: String,
    /// Rows of a head, where llama.cpp's converter changed their order.
    shuffled: Option<usize>,
}

impl Checkpoint {
    /// Opens a file and understands all of it; a tensor that the architecture does not have is refused by name, since a
    /// decoder would compute without it.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path)?;
        let architecture = Architecture::of(&file)?;
        let config = config::config(&file, architecture)?;
        let layers = Keys::new(&file, architecture).need("block_count")?;
        let mut weights = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            if [ROPE_FREQS, ROPE_LONG, ROPE_SHORT].contains(&name.as_str()) {
                continue;
            }
            let Some(hugging_face) = names::hugging_face(architecture, layers, name) else {
                let what = format!("the tensor `{}`", name.escape_debug());
                return Err(Error::unsupported(
                    path,
                    what,
                    "those of llama, qwen2 and phi3",
                ));
            };
            let weight = Weight {
                tensor: tensor.clone(),
                gguf_name: name.clone(),
                shuffled: shuffled(&file, architecture, name, tensor)?,
            };
            weights.insert(hugging_face, weight);
        }
        Ok(Self {
            file,
            config,
            weights,
        })
    }

    pub fn file(&self) -> &File {
        &self.file
    }

    /// What `config.json` would say: fields and meanings of `transformers`.
    pub fn config(&self) -> &Json {
        &self.config
    }

    /// Tokenizer, chat template and special tokens.
    pub fn text(&self) -> Result<Text, Error> {
        Text::read(&self.file)
    }

    /// All weights, by their Hugging Face names.
    pub fn weights(&self) -> &BTreeMap<String, Weight> {
        &self.weights
    }

    pub fn weight(&self, name: &str) -> Result<&Weight, Error> {
        let missing = || Error::missing(self.file.path(), format!("weight `{name}`"));
        self.weights.get(name).ok_or_else(missing)
    }

    /// The values of some rows: [`Tensor::row_len`] for each; a vector is one row.
    pub fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let weight = self.weight(name)?;
        let blocks = self.blocks(name, rows)?;
        Ok(weight.tensor.values(&blocks))
    }

    /// The blocks of some rows: see [`Checkpoint::append`].
    pub fn blocks(&self, name: &str, rows: Range<usize>) -> Result<Vec<u8>, Error> {
        let mut blocks = Vec::new();
        self.append(name, rows, &mut blocks)?;
        Ok(blocks)
    }

    /// Reads the blocks of some rows, bit for bit as in the file, [`Tensor::row_bytes`] for each row,
    /// and puts them behind what `to` holds.
    pub fn append(&self, name: &str, rows: Range<usize>, to: &mut Vec<u8>) -> Result<(), Error> {
        let weight = self.weight(name)?;
        let (tensor, name) = (&weight.tensor, &weight.gguf_name);
        let Some(head) = weight.shuffled else {
            return self.file.append(name, rows, to);
        };
        if tensor.shape.len() == 1 {
            // A bias: what are rows in a matrix are values here.
            let values = self.file.blocks(name, rows.clone())?;
            let count = rows.len() * tensor.row_len();
            sorted(&values, tensor.kind.block_bytes(), head, 0..count, to);
            return Ok(());
        }
        if rows.start > rows.end || rows.end > tensor.rows() {
            return self.file.append(name, rows, to);
        }
        // A row may come from anywhere in its head, so whole heads are read.
        let whole = rows.start / head * head..rows.end.next_multiple_of(head);
        let wanted = rows.start - whole.start..rows.end - whole.start;
        let blocks = self.file.blocks(name, whole)?;
        sorted(&blocks, tensor.row_bytes(), head, wanted, to);
        Ok(())
    }
}

/// Rows of a head, for the queries and keys of `llama`; none for all else.
///
/// A head of `d` rows in the order 0, d/2, 1, d/2 + 1, … has pairs that turn together side by side: `LlamaModel.permute` in
/// `conversion/llama.py`.
fn shuffled(
    file: &File,
    architecture: Architecture,
    name: &str,
    tensor: &Tensor,
) -> Result<Option<usize>, Error> {
    let part = name.split('.').nth(2);
    let key = match (architecture, part) {
        (Architecture::Llama, Some("attn_q")) => "attention.head_count",
        (Architecture::Llama, Some("attn_k")) => "attention.head_count_kv",
        _ => return Ok(None),
    };
    let keys = Keys::new(file, architecture);
    let heads = match keys.whole(key)? {
        Some(heads) => heads,
        None => keys.need("attention.head_count")?,
    };
    let rows = tensor.shape[0] as u64;
    let head = rows.checked_div(heads).unwrap_or(0);
    let movable = match tensor.shape.len() {
        1 => tensor.kind.block_len() == 1,
        dimensions => dimensions == 2,
    };
    if head == 0 || head % 2 != 0 || head * heads != rows || !movable {
        let reason = format!(
            "{:?} of {} is not {heads} heads of an even number of rows",
            tensor.shape,
            tensor.kind.name()
        );
        let place = format!("the tensor `{name}`");
        return Err(Error::damaged(file.path(), place, reason));
    }
    Ok(Some(head as usize))
}

/// Puts the `wanted` rows of whole heads, each `width` bytes, in their first order.
fn sorted(rows: &[u8], width: usize, head: usize, wanted: Range<usize>, to: &mut Vec<u8>) {
    let half = head / 2;
    to.reserve(wanted.len() * width);
    for row in wanted {
        let (start, row) = (row / head * head, row % head);
        let from = start + row % half * 2 + row / half;
        to.extend_from_slice(&rows[from * width..][..width]);
    }
}
