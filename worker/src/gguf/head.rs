//! What stands before the weights: header, metadata, tensor table.
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::error::Error;
use super::kind::{KINDS, Kind};
use super::reader::Reader;
use super::value::Value;

pub(super) struct Head {
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    pub tensors: BTreeMap<String, Tensor>,
}

/// Where a tensor is and what it is like; checked to lie in the file, whole and alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Sizes as Hugging Face writes them, (out, in) for a matrix: the reverse of the order in the file.
    pub shape: Vec<usize>,
    pub kind: Kind,
    /// First byte, from the start of the file.
    pub offset: u64,
}

const MAGIC: u32 = u32::from_le_bytes(*b"GGUF");
const VERSIONS: &str = "GGUF versions 2 and 3, little-endian";
const ALIGNMENT: &str = "general.alignment";
const SPLIT: &str = "split.count";
/// As in ggml: `GGML_MAX_DIMS`.
const MOST_DIMENSIONS: u32 = 4;

impl Tensor {
    /// Values of a row: the last size.
    pub fn row_len(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// Rows: the product of all sizes but the last; a vector is one row.
    pub fn rows(&self) -> usize {
        let outer = self.shape.split_last().map_or(&[][..], |(_, outer)| outer);
        outer.iter().product()
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.row_len() / self.kind.block_len() * self.kind.block_bytes()
    }

    /// Bytes of all rows.
    pub fn bytes(&self) -> usize {
        self.rows() * self.row_bytes()
    }
}

impl Head {
    pub fn read(path: &Path, file: &fs::File) -> Result<Self, Error> {
        let mut reader = Reader::new(path, file)?;
        if reader.u32()? != MAGIC {
            return Err(reader.damaged("it does not begin with `GGUF`"));
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            let what = match version.swap_bytes() {
                2 | 3 => "big-endian numbers".to_owned(),
                _ => format!("version {version}"),
            };
            return Err(Error::unsupported(path, what, VERSIONS));
        }
        // The least that the file spends on a tensor: name, one size, kind and offset; on a value: key and type.
        let tensor_count = reader.count(8 + 4 + 8 + 4 + 8)?;
        let value_count = reader.count(8 + 4 + 1)?;
        let metadata = metadata(&mut reader, value_count)?;
        if let Some(parts) = metadata.get(SPLIT).and_then(Value::as_u64)
            && parts > 1
        {
            let what = format!("the other files of a model split in {parts}");
            let supported = "models in one file: `llama-gguf-split --merge` makes one";
            return Err(Error::unsupported(path, what, supported));
        }
        let alignment = alignment(path, &metadata)?;
        let tensors = tensors(&mut reader, tensor_count, alignment)?;
        Ok(Self {
            version,
            metadata,
            tensors,
        })
    }
}

fn metadata(reader: &mut Reader, count: usize) -> Result<BTreeMap<String, Value>, Error> {
    let mut metadata = BTreeMap::new();
    for number in 0..count {
        reader.what = format!("metadata {number} of {count}");
        let key = reader.string()?;
        reader.what = format!("the key `{}`", key.escape_debug());
        let value = reader.value()?;
        if metadata.insert(key, value).is_some() {
            return Err(reader.damaged("it stands there twice"));
        }
    }
    Ok(metadata)
}

fn alignment(path: &Path, metadata: &BTreeMap<String, Value>) -> Result<u64, Error> {
    let Some(value) = metadata.get(ALIGNMENT) else {
        return Ok(32);
    };
    let alignment = value.as_u64().filter(|value| value.is_power_of_two());
    alignment.ok_or_else(|| {
        let place = format!("the key `{ALIGNMENT}`");
        Error::damaged(path, place, format!("{value:?} is no power of two"))
    })
}

fn tensors(
    reader: &mut Reader,
    count: usize,
    alignment: u64,
) -> Result<BTreeMap<String, Tensor>, Error> {
    let mut tensors = BTreeMap::new();
    for number in 0..count {
        reader.what = format!("tensor {number} of {count}");
        let name = reader.string()?;
        reader.what = format!("the tensor `{}`", name.escape_debug());
        let tensor = tensor(reader, alignment)?;
        if tensors.insert(name, tensor).is_some() {
            return Err(reader.damaged("it stands there twice"));
        }
    }
    if count > 0 {
        reader.what = String::from("the tensor table");
        let start = reader.at.checked_next_multiple_of(alignment);
        let start = start.filter(|&start| start <= reader.size);
        let start = start.ok_or_else(|| reader.damaged("the file ends before the weights"))?;
        place(reader, &mut tensors, start)?;
    }
    Ok(tensors)
}

/// Reads one line of the table. The offset is still from the start of the weights.
fn tensor(reader: &mut Reader, alignment: u64) -> Result<Tensor, Error> {
    let dimensions = reader.u32()?;
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(reader.damaged(format!(
            "it has {dimensions} dimensions, not 1 to {MOST_DIMENSIONS}"
        )));
    }
    let mut shape = Vec::new();
    for _ in 0..dimensions {
        shape.push(reader.u64()?);
    }
    shape.reverse();
    let kind = Kind::from_id(reader.u32()?).map_err(|name| {
        let what = format!("the kind {name} in {}", reader.what);
        Error::unsupported(reader.path, what, KINDS)
    })?;
    let bytes = bytes(&shape, kind).filter(|&bytes| bytes <= reader.size);
    if bytes.is_none() {
        let reason = format!(
            "{shape:?} of {} is nothing that a file of {} bytes can hold",
            kind.name(),
            reader.size
        );
        return Err(reader.damaged(reason));
    }
    let offset = reader.u64()?;
    if !offset.is_multiple_of(alignment) {
        return Err(reader.damaged(format!("its offset {offset} is no multiple of {alignment}")));
    }
    Ok(Tensor {
        // No size is zero, so none is above the bytes of them all, which are no more than the file's.
        shape: shape.into_iter().map(|size| size as usize).collect(),
        kind,
        offset,
    })
}

/// Bytes of a tensor; none where a size is zero, rows are no whole blocks, or there is no such number.
fn bytes(shape: &[u64], kind: Kind) -> Option<u64> {
    let product = |product: u64, &size: &u64| product.checked_mul(size);
    let values = shape.iter().try_fold(1, product)?;
    let block = kind.block_len() as u64;
    let whole = shape.last()?.is_multiple_of(block) && values > 0;
    (values / block)
        .checked_mul(kind.block_bytes() as u64)
        .filter(|_| whole)
}

/// Counts offsets from the start of the file. Each tensor must end before the next begins, and before the file ends.
fn place(reader: &Reader, tensors: &mut BTreeMap<String, Tensor>, start: u64) -> Result<(), Error> {
    let mut order: Vec<(&String, &mut Tensor)> = tensors.iter_mut().collect();
    order.sort_unstable_by_key(|(_, tensor)| tensor.offset);
    let mut before: Option<(&String, u64)> = None;
    for (name, tensor) in order {
        let place = || format!("the tensor `{}`", name.escape_debug());
        let offset = start.checked_add(tensor.offset);
        let end = offset.and_then(|offset| offset.checked_add(tensor.bytes() as u64));
        let (Some(offset), Some(end)) = (offset, end.filter(|&end| end <= reader.size)) else {
            let reason = format!(
                "{} bytes from {} of the weights on should be there, but the file ends after {}",
                tensor.bytes(),
                tensor.offset,
                reader.size
            );
            return Err(Error::damaged(reader.path, place(), reason));
        };
        if let Some((other, end)) = before
            && offset < end
        {
            let reason = format!("it overlaps the tensor `{}`", other.escape_debug());
            return Err(Error::damaged(reader.path, place(), reason));
        }
        tensor.offset = offset;
        before = Some((name, end));
    }
    Ok(())
}
