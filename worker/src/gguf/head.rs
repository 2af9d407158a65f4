//! What stands before the weights: metadata, and the tensor table with each tensor in its place.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use pool_core::gguf::{Arrays, Error, Header, KINDS, Kind, Reader, TableLine, Value};

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
        let unreadable = |source| Error::unreadable(path, source);
        let size = file.metadata().map_err(unreadable)?.len();
        let mut reader = Reader::new(path, file, size, Arrays::Kept);
        let header = Header::read(&mut reader)?;
        Ok(Self {
            tensors: tensors(&mut reader, header.tensors, header.alignment)?,
            version: header.version,
            metadata: header.metadata,
        })
    }
}

fn tensors(
    reader: &mut Reader<&fs::File>,
    count: usize,
    alignment: u64,
) -> Result<BTreeMap<String, Tensor>, Error> {
    let mut tensors = BTreeMap::new();
    for number in 0..count {
        let line = TableLine::read(reader, number, count)?;
        let tensor = tensor(reader, &line, alignment)?;
        if tensors.insert(line.name, tensor).is_some() {
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

/// Checks what a line of the table says. The offset is still from the start of the weights.
fn tensor(reader: &Reader<&fs::File>, line: &TableLine, alignment: u64) -> Result<Tensor, Error> {
    let shape: Vec<u64> = line.sizes.iter().rev().copied().collect();
    let kind = Kind::from_id(line.kind).map_err(|name| {
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
    let offset = line.offset;
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
fn place(
    reader: &Reader<&fs::File>,
    tensors: &mut BTreeMap<String, Tensor>,
    start: u64,
) -> Result<(), Error> {
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
