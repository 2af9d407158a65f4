//! safetensors: one file, or several by index.
//!
//! Format: <https://huggingface.co/docs/safetensors>: 8 bytes of little-endian header length, the header as JSON, then the
//! data. Every number of the header is checked against the file before anything is allocated for it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::cpu::Source;
use crate::model::error::ModelError;
use crate::model::files;

pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// As in the reference implementation.
const LONGEST_HEADER: u64 = 100_000_000;

/// The files of a model, open for reading.
pub(super) struct Safetensors {
    shards: Vec<Shard>,
    /// Where each tensor is: the shard and the place in it.
    tensors: HashMap<String, (usize, Entry)>,
}

struct Shard {
    path: PathBuf,
    file: File,
    /// Where the data begins, in bytes from the start of the file.
    data: u64,
}

/// A tensor of a kind that is read, with as many bytes as its shape needs.
pub(super) struct Tensor<'a> {
    pub path: &'a Path,
    pub shape: &'a [usize],
    pub source: Source,
    rows: usize,
    row_bytes: usize,
    file: &'a File,
    /// First byte, from the start of the file.
    start: u64,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    /// First byte and the one after the last, from the start of the data.
    data_offsets: (u64, u64),
}

/// The header without its remarks. No tensor stands there twice.
struct Header(Vec<(String, Entry)>);

impl Entry {
    fn source(&self) -> Option<Source> {
        match self.dtype.as_str() {
            "F32" => Some(Source::F32),
            "F16" => Some(Source::F16),
            "BF16" => Some(Source::Bf16),
            _ => None,
        }
    }
}

impl Safetensors {
    /// Opens the files of a folder and reads what they hold; none where there are no such files.
    pub fn open(dir: &Path) -> Result<Option<Self>, ModelError> {
        let mut all = Self {
            shards: Vec::new(),
            tensors: HashMap::new(),
        };
        if dir.join(SINGLE).exists() {
            all.add(&dir.join(SINGLE))?;
            return Ok(Some(all));
        }
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let Some(index) = files::json::<Index>(dir, INDEX)? else {
            return Ok(None);
        };
        let damaged = |reason: String| Err(ModelError::damaged(&dir.join(INDEX), reason));
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return damaged("it names no shard".to_owned());
        }
        for name in names {
            if name.is_empty() || name.contains(['/', '\\']) || name == "." || name == ".." {
                return damaged(format!(
                    "the shard {} is not a file of this folder",
                    shown(name)
                ));
            }
            all.add(&dir.join(name))?;
        }
        for (tensor, shard) in &index.weight_map {
            let found = all.tensors.get(tensor).map(|(at, _)| &all.shards[*at].path);
            if found != Some(&dir.join(shard)) {
                return damaged(format!(
                    "the tensor {} is not in {}",
                    shown(tensor),
                    shown(shard)
                ));
            }
        }
        Ok(Some(all))
    }

    fn add(&mut self, path: &Path) -> Result<(), ModelError> {
        let unreadable = |source| ModelError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let damaged = |reason: String| ModelError::damaged(path, reason);
        let mut file = files::open(path)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let too_short = || damaged(format!("it ends early, after {size} bytes"));
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(|_| too_short())?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER {
            return Err(damaged(format!("its header claims {length} bytes")));
        }
        let data = 8 + length;
        let data_size = size.checked_sub(data).ok_or_else(too_short)?;
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(unreadable)?;
        let Header(entries) = serde_json::from_slice(&header)
            .map_err(|error| damaged(format!("its header: {error}")))?;
        let mut places: Vec<(u64, u64, String)> = Vec::with_capacity(entries.len());
        for (name, entry) in entries {
            let (start, end) = entry.data_offsets;
            if start > end {
                let name = shown(&name);
                return Err(damaged(format!("the tensor {name} ends before it begins")));
            }
            if end > data_size {
                return Err(too_short());
            }
            places.push((start, end, name.clone()));
            let place = (self.shards.len(), entry);
            if self.tensors.insert(name.clone(), place).is_some() {
                let name = shown(&name);
                return Err(damaged(format!("the tensor {name} is in two files")));
            }
        }
        places.sort_unstable();
        if let Some([before, after]) = places.array_windows().find(|[a, b]| b.0 < a.1) {
            let (name, other) = (shown(&after.2), shown(&before.2));
            return Err(damaged(format!(
                "the tensor {name} overlaps the tensor {other}"
            )));
        }
        let path = path.to_owned();
        self.shards.push(Shard { path, file, data });
        Ok(())
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        let entries = self.tensors.values();
        let bytes = entries.map(|(_, entry)| entry.data_offsets.1 - entry.data_offsets.0);
        bytes.sum()
    }

    pub fn tensor(&self, name: &str) -> Result<Tensor<'_>, ModelError> {
        let Some((shard, entry)) = self.tensors.get(name) else {
            let path = &self.shards[0].path;
            let reason = format!("the tensor {name} is missing");
            return Err(ModelError::damaged(path, reason));
        };
        let shard = &self.shards[*shard];
        let damaged = |reason: String| {
            ModelError::damaged(&shard.path, format!("the tensor {name} {reason}"))
        };
        let source = entry.source().ok_or_else(|| ModelError::Unsupported {
            path: shard.path.clone(),
            what: format!("the kind {} in the tensor {name}", shown(&entry.dtype)),
            supported: "F32, F16, BF16",
        })?;
        let (columns, outer) = entry.shape.split_last().unwrap_or((&1, &[]));
        let rows = outer
            .iter()
            .try_fold(1, |rows: usize, &size| rows.checked_mul(size));
        let row_bytes = source.row_bytes(*columns).ok();
        let expected = rows.zip(row_bytes).and_then(|(a, b)| a.checked_mul(b));
        let (start, end) = entry.data_offsets;
        let (Some(rows), Some(row_bytes), Some(expected)) = (rows, row_bytes, expected) else {
            return Err(damaged(format!("has the shape {:?}", entry.shape)));
        };
        if end - start != expected as u64 {
            let found = end - start;
            return Err(damaged(format!("has {found} bytes, not {expected}")));
        }
        Ok(Tensor {
            path: &shard.path,
            shape: &entry.shape,
            source,
            rows,
            row_bytes,
            file: &shard.file,
            start: shard.data + start,
        })
    }

    pub fn append(
        &self,
        name: &str,
        rows: Range<usize>,
        to: &mut Vec<u8>,
    ) -> Result<(), ModelError> {
        let tensor = self.tensor(name)?;
        if rows.start > rows.end || rows.end > tensor.rows {
            let reason = format!("the tensor {name} has {} rows, not {rows:?}", tensor.rows);
            return Err(ModelError::damaged(tensor.path, reason));
        }
        let first = to.len();
        to.resize(first + rows.len() * tensor.row_bytes, 0);
        let start = tensor.start + (rows.start * tensor.row_bytes) as u64;
        let read = tensor.file.read_exact_at(&mut to[first..], start);
        read.map_err(|source| ModelError::Unreadable {
            path: tensor.path.to_owned(),
            source,
        })
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Entries)
    }
}

struct Entries;

impl<'de> Visitor<'de> for Entries {
    type Value = Header;

    fn expecting(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str("a map of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let wrong = |reason: &dyn fmt::Display| {
                A::Error::custom(format_args!("the tensor {}: {reason}", shown(&name)))
            };
            let entry = map.next_value().map_err(|error| wrong(&error))?;
            if entries.contains_key(&name) {
                return Err(wrong(&"it stands there twice"));
            }
            entries.insert(name, entry);
        }
        Ok(Header(entries.into_iter().collect()))
    }
}

/// Whether a folder has such files.
pub(super) fn is_in(dir: &Path) -> bool {
    [SINGLE, INDEX].iter().any(|name| dir.join(name).exists())
}

/// A text of a file, fit for a line of a terminal.
fn shown(text: &str) -> String {
    const MOST: usize = 100;
    let shown: String = text.chars().take(MOST).collect();
    let rest = if text.chars().nth(MOST).is_some() {
        "…"
    } else {
        ""
    };
    format!("`{}{rest}`", shown.escape_debug())
}
