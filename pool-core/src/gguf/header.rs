//! What stands before the weights: header, metadata, the lines of the tensor table.
//!
//! Source: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use super::error::Error;
use super::reader::Reader;
use super::value::Value;

/// All that stands before the tensor table, checked.
#[derive(Debug)]
pub struct Header {
    /// Of the format: 2 or 3.
    pub version: u32,
    pub metadata: BTreeMap<String, Value>,
    /// Lines of the tensor table that follow: [`TableLine`].
    pub tensors: usize,
    /// Of the weights, in bytes: a power of two.
    pub alignment: u64,
}

/// What the table says of one tensor, unchecked but for the number of its sizes.
#[derive(Debug)]
pub struct TableLine {
    pub name: String,
    /// Sizes in the order of the file, 1 to 4 of them.
    pub sizes: Vec<u64>,
    /// Number of the kind, as in `enum ggml_type`.
    pub kind: u32,
    /// First byte, from the start of the weights.
    pub offset: u64,
}

const MAGIC: u32 = u32::from_le_bytes(*b"GGUF");
const VERSIONS: &str = "GGUF versions 2 and 3, little-endian";
const ALIGNMENT: &str = "general.alignment";
const SPLIT: &str = "split.count";
/// As in ggml: `GGML_MAX_DIMS`.
const MOST_DIMENSIONS: u32 = 4;

impl Header {
    /// Reads it from the start of a file. A file that is part of a split model is refused by name.
    pub fn read<R: Read>(reader: &mut Reader<R>) -> Result<Self, Error> {
        if reader.u32()? != MAGIC {
            return Err(reader.damaged("it does not begin with `GGUF`"));
        }
        let version = reader.u32()?;
        if !matches!(version, 2 | 3) {
            let what = match version.swap_bytes() {
                2 | 3 => "big-endian numbers".to_owned(),
                _ => format!("version {version}"),
            };
            return Err(Error::unsupported(reader.path, what, VERSIONS));
        }
        // The least that the file spends on a tensor: name, one size, kind and offset; on a value: key and type.
        let tensors = reader.count(8 + 4 + 8 + 4 + 8)?;
        let value_count = reader.count(8 + 4 + 1)?;
        let metadata = metadata(reader, value_count)?;
        if let Some(parts) = metadata.get(SPLIT).and_then(Value::as_u64)
            && parts > 1
        {
            let what = format!("the other files of a model split in {parts}");
            let supported = "models in one file: `llama-gguf-split --merge` makes one";
            return Err(Error::unsupported(reader.path, what, supported));
        }
        Ok(Self {
            version,
            alignment: alignment(reader.path, &metadata)?,
            metadata,
            tensors,
        })
    }
}

impl TableLine {
    /// Reads line `number` of a table of `count`, from 0 on; errors of the reader name the tensor from here on.
    pub fn read<R: Read>(
        reader: &mut Reader<R>,
        number: usize,
        count: usize,
    ) -> Result<Self, Error> {
        reader.what = format!("tensor {number} of {count}");
        let name = reader.string()?;
        reader.what = format!("the tensor `{}`", name.escape_debug());
        let dimensions = reader.u32()?;
        if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
            return Err(reader.damaged(format!(
                "it has {dimensions} dimensions, not 1 to {MOST_DIMENSIONS}"
            )));
        }
        Ok(Self {
            name,
            sizes: (0..dimensions)
                .map(|_| reader.u64())
                .collect::<Result<_, _>>()?,
            kind: reader.u32()?,
            offset: reader.u64()?,
        })
    }
}

fn metadata<R: Read>(
    reader: &mut Reader<R>,
    count: usize,
) -> Result<BTreeMap<String, Value>, Error> {
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
