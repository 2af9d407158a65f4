//! Weights on disk: safetensors, one file or several by index.
//!
//! Format: <https://huggingface.co/docs/safetensors>: 8 bytes of little-endian header length, the header as JSON, then the
//! data. Every number of the header is checked against the file before anything is allocated, and each tensor is
//! read on its own, so loading holds one tensor more than the weights as kept.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::error::ModelError;
use super::files;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// As in the reference implementation.
const LONGEST_HEADER: u64 = 100_000_000;

/// The tensors of a model folder, open for reading.
pub struct Checkpoint {
    shards: Vec<Shard>,
    /// Where each tensor is: the shard and the place in it.
    tensors: HashMap<String, (usize, Entry)>,
    bytes_read: u64,
    bytes_total: u64,
}

struct Shard {
    path: PathBuf,
    file: File,
    /// Where the data begins, in bytes from the start of the file.
    data: u64,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    /// First byte and the one after the last, from the start of the data.
    data_offsets: (u64, u64),
}

impl Entry {
    fn dtype(&self) -> Option<DType> {
        match self.dtype.as_str() {
            "F32" => Some(DType::F32),
            "F16" => Some(DType::F16),
            "BF16" => Some(DType::BF16),
            _ => None,
        }
    }
}

impl Checkpoint {
    /// Opens the weights of a folder and reads what they hold, not the weights themselves.
    pub fn open(dir: &Path) -> Result<Self, ModelError> {
        let mut checkpoint = Self {
            shards: Vec::new(),
            tensors: HashMap::new(),
            bytes_read: 0,
            bytes_total: 0,
        };
        if dir.join(SINGLE).exists() {
            checkpoint.add(&dir.join(SINGLE))?;
            return Ok(checkpoint);
        }
        #[derive(Deserialize)]
        struct Index {
            weight_map: BTreeMap<String, String>,
        }
        let index: Index = files::json(dir, INDEX)?.ok_or_else(|| ModelError::Missing {
            dir: dir.to_owned(),
            file: SINGLE,
        })?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort();
        names.dedup();
        for name in names {
            if name.contains(['/', '\\']) || name == ".." {
                let reason = format!("the shard {name:?} is not a file of this folder");
                return Err(ModelError::damaged(&dir.join(INDEX), reason));
            }
            checkpoint.add(&dir.join(name))?;
        }
        for (tensor, shard) in &index.weight_map {
            let found = checkpoint
                .tensors
                .get(tensor)
                .map(|(at, _)| &checkpoint.shards[*at].path);
            if found != Some(&dir.join(shard)) {
                let reason = format!("the tensor {tensor} is not in {shard}");
                return Err(ModelError::damaged(&dir.join(INDEX), reason));
            }
        }
        Ok(checkpoint)
    }

    fn add(&mut self, path: &Path) -> Result<(), ModelError> {
        let unreadable = |source| ModelError::Unreadable {
            path: path.to_owned(),
            source,
        };
        let damaged = |reason: String| ModelError::damaged(path, reason);
        let mut file = File::open(path).map_err(unreadable)?;
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
        let mut header: HashMap<String, serde_json::Value> = serde_json::from_slice(&header)
            .map_err(|error| damaged(format!("its header: {error}")))?;
        header.remove("__metadata__");
        for (name, entry) in header {
            let entry: Entry = serde_json::from_value(entry)
                .map_err(|error| damaged(format!("the tensor {name}: {error}")))?;
            let (start, end) = entry.data_offsets;
            if start > end {
                return Err(damaged(format!("the tensor {name} ends before it begins")));
            }
            if end > data_size {
                return Err(too_short());
            }
            self.bytes_total += end - start;
            if self
                .tensors
                .insert(name.clone(), (self.shards.len(), entry))
                .is_some()
            {
                return Err(damaged(format!("the tensor {name} is in two files")));
            }
        }
        let path = path.to_owned();
        self.shards.push(Shard { path, file, data });
        Ok(())
    }

    /// Reads one tensor as f32 onto the device. `shape` is what the decoder needs it to be.
    pub fn tensor(
        &mut self,
        name: &str,
        shape: &[usize],
        device: &Device,
    ) -> Result<Tensor, ModelError> {
        let Some((shard, entry)) = self.tensors.get(name) else {
            let path = &self.shards[0].path;
            return Err(ModelError::damaged(
                path,
                format!("the tensor {name} is missing"),
            ));
        };
        let shard = &mut self.shards[*shard];
        let damaged = |reason: String| {
            ModelError::damaged(&shard.path, format!("the tensor {name} {reason}"))
        };
        if entry.shape != shape {
            return Err(damaged(format!(
                "has the shape {:?}, not {shape:?}",
                entry.shape
            )));
        }
        let dtype = entry.dtype().ok_or_else(|| ModelError::Unsupported {
            path: shard.path.clone(),
            what: format!("the kind `{}` in the tensor {name}", entry.dtype),
            supported: "F32, F16, BF16",
        })?;
        let (start, end) = entry.data_offsets;
        let expected = shape.iter().product::<usize>() * dtype.size_in_bytes();
        if end - start != expected as u64 {
            return Err(damaged(format!(
                "has {} bytes, not {expected}",
                end - start
            )));
        }
        let mut bytes = vec![0; expected];
        let read = shard.file.seek(SeekFrom::Start(shard.data + start));
        read.and_then(|_| shard.file.read_exact(&mut bytes))
            .map_err(|source| ModelError::Unreadable {
                path: shard.path.clone(),
                source,
            })?;
        self.bytes_read += end - start;
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, shape, &Device::Cpu)?;
        drop(bytes);
        Ok(tensor.to_dtype(DType::F32)?.to_device(device)?)
    }

    /// How much was read, 0–100.
    pub fn percent(&self) -> u8 {
        (self.bytes_read * 100 / self.bytes_total.max(1)).min(100) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn load(bytes: &[u8]) -> Result<Vec<f32>, ModelError> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(SINGLE), bytes).unwrap();
        let tensor = Checkpoint::open(dir.path())?.tensor("a", &[2], &Device::Cpu)?;
        Ok(tensor.to_vec1().unwrap())
    }

    #[test]
    fn each_kind_of_float_becomes_f32() {
        let header = |kind: &str, end: usize| {
            format!(
                r#"{{"__metadata__":{{"format":"pt"}},"a":{{"dtype":"{kind}","shape":[2],"data_offsets":[0,{end}]}}}}"#
            )
        };
        let f32s: Vec<u8> = [1.5_f32, -2.0]
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect();
        assert_eq!(load(&file(&header("F32", 8), &f32s)).unwrap(), [1.5, -2.0]);
        let bf16 = [0xc0, 0x3f, 0x00, 0xc0];
        assert_eq!(load(&file(&header("BF16", 4), &bf16)).unwrap(), [1.5, -2.0]);
        let f16 = [0x00, 0x3e, 0x00, 0xc0];
        assert_eq!(load(&file(&header("F16", 4), &f16)).unwrap(), [1.5, -2.0]);
    }

    #[test]
    fn a_damaged_file_is_an_error_that_says_how() {
        let entry = |text: &str| format!(r#"{{"a":{text}}}"#);
        let whole = entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#);
        for (bytes, reason) in [
            (vec![], "ends early"),
            (vec![1, 2, 3], "ends early"),
            (u64::MAX.to_le_bytes().to_vec(), "claims"),
            (1000_u64.to_le_bytes().to_vec(), "ends early"),
            (file("{", b""), "header"),
            (file(&whole, &[0; 7]), "ends early"),
            (file("{}", &[]), "missing"),
            (
                file(
                    &entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#),
                    &[0; 8],
                ),
                "before",
            ),
            (
                file(
                    &entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#),
                    &[0; 8],
                ),
                "4 bytes",
            ),
            (
                file(
                    &entry(r#"{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}"#),
                    &[0; 8],
                ),
                "shape",
            ),
            (
                file(
                    &entry(r#"{"dtype":"I8","shape":[2],"data_offsets":[0,2]}"#),
                    &[0; 2],
                ),
                "I8",
            ),
            (
                file(
                    &entry(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,2]}"#),
                    &[0; 2],
                ),
                "tensor a",
            ),
        ] {
            let error = load(&bytes).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }

    #[test]
    fn an_index_cannot_lead_out_of_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let index = r#"{"weight_map": {"a": "../a.safetensors"}}"#;
        std::fs::write(dir.path().join(INDEX), index).unwrap();
        let error = Checkpoint::open(dir.path()).err().unwrap().to_string();
        assert!(error.contains("not a file of this folder"), "{error}");
    }
}
