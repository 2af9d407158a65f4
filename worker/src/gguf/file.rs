//! A GGUF file, open for reading.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::dequantise::dequantise;
use super::head::{Head, Tensor};
use pool_core::gguf::Error;
use pool_core::gguf::Value;

/// A file whose head is read and checked, and whose weights are read on demand.
///
/// Weights are read at their positions, so the file may be shared between threads.
pub struct File {
    path: PathBuf,
    source: fs::File,
    head: Head,
}

impl File {
    /// Opens a file and reads all but the weights.
    ///
    /// Every length, count, size and offset is held against the size of the file before anything is allocated for it.
    /// A kind of tensor that is not read, and a file that is part of a split model, are refused by name.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let unreadable = |error| Error::unreadable(path, error);
        // A pipe or a device may never give what is asked of it.
        if !path.metadata().map_err(unreadable)?.is_file() {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file");
            return Err(unreadable(error));
        }
        let source = fs::File::open(path).map_err(unreadable)?;
        let head = Head::read(path, &source)?;
        let path = path.to_owned();
        Ok(Self { path, source, head })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Of the format: 2 or 3.
    pub fn version(&self) -> u32 {
        self.head.version
    }

    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.head.metadata
    }

    /// The tensors by their GGUF names.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.head.tensors
    }

    /// The tensor with a GGUF name.
    pub fn tensor(&self, name: &str) -> Result<&Tensor, Error> {
        let missing = || Error::missing(&self.path, format!("tensor `{name}`"));
        self.head.tensors.get(name).ok_or_else(missing)
    }

    /// Reads the blocks of some rows, as they are in the file, [`Tensor::row_bytes`] for each row, and puts
    /// them behind what `to` holds.
    pub fn append(&self, name: &str, rows: Range<usize>, to: &mut Vec<u8>) -> Result<(), Error> {
        let tensor = self.tensor(name)?;
        if rows.start > rows.end || rows.end > tensor.rows() {
            let what = format!("rows {rows:?} in the tensor `{name}` of {}", tensor.rows());
            return Err(Error::missing(&self.path, what));
        }
        let width = tensor.row_bytes();
        let first = to.len();
        to.resize(first + rows.len() * width, 0);
        let offset = tensor.offset + (rows.start * width) as u64;
        let read = self.source.read_exact_at(&mut to[first..], offset);
        read.map_err(|source| Error::unreadable(&self.path, source))
    }

    /// The blocks of some rows: see [`File::append`].
    pub fn blocks(&self, name: &str, rows: Range<usize>) -> Result<Vec<u8>, Error> {
        let mut blocks = Vec::new();
        self.append(name, rows, &mut blocks)?;
        Ok(blocks)
    }

    /// The values of some rows: [`Tensor::row_len`] for each row.
    pub fn rows(&self, name: &str, rows: Range<usize>) -> Result<Vec<f32>, Error> {
        let tensor = self.tensor(name)?;
        let blocks = self.blocks(name, rows)?;
        Ok(tensor.values(&blocks))
    }
}

impl Tensor {
    /// The values of blocks of this tensor's kind.
    pub(super) fn values(&self, blocks: &[u8]) -> Vec<f32> {
        let count = blocks.len() / self.kind.block_bytes() * self.kind.block_len();
        let mut values = vec![0.0; count];
        dequantise(self.kind, blocks, &mut values);
        values
    }
}
