//! Reads the head of a file in order, never past its end, and never allocates for what the file cannot hold.

use std::io::{self, BufReader, ErrorKind, Read};
use std::path::Path;

use super::error::Error;
use super::value::{Array, Scalar, Scalars, Value};

/// Most bytes of metadata and tensor table together that are read. The largest vocabularies need some 20 MB.
pub const LONGEST_HEAD: u64 = 128 << 20;

/// Arrays in arrays in arrays; the files that exist have none.
const DEEPEST: usize = 4;

/// What becomes of the elements of arrays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrays {
    Kept,
    /// Passed over: [`Array::Counted`].
    Counted,
}

pub struct Reader<'a, R> {
    /// What errors name.
    pub path: &'a Path,
    source: BufReader<R>,
    arrays: Arrays,
    /// Bytes read so far.
    pub at: u64,
    /// Bytes of the file.
    pub size: u64,
    /// What is being read, for errors.
    pub what: String,
}

impl<'a, R: Read> Reader<'a, R> {
    /// Reads a file of `size` bytes from its start.
    pub fn new(path: &'a Path, source: R, size: u64, arrays: Arrays) -> Self {
        Self {
            path,
            source: BufReader::new(source),
            arrays,
            at: 0,
            size,
            what: "the header".to_owned(),
        }
    }

    pub fn damaged(&self, reason: impl ToString) -> Error {
        let place = format!("{} at byte {}", self.what, self.at);
        Error::damaged(self.path, place, reason)
    }

    pub fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_le_bytes)
    }

    /// How many things follow, where each takes `least` bytes or more.
    pub fn count(&mut self, least: usize) -> Result<usize, Error> {
        let count = self.u64()?;
        self.expect(count, least)?;
        Ok(count as usize)
    }

    /// A length of 8 bytes, then that many bytes of UTF-8.
    pub fn string(&mut self) -> Result<String, Error> {
        let length = self.count(1)?;
        let start = self.at;
        String::from_utf8(self.bytes(length)?).map_err(|error| {
            let at = start + error.utf8_error().valid_up_to() as u64;
            self.damaged(format!("the string is not UTF-8 at byte {at}"))
        })
    }

    /// The number of a type, then a value of it.
    pub fn value(&mut self) -> Result<Value, Error> {
        let kind = self.u32()?;
        match kind {
            STRING => self.string().map(Value::String),
            ARRAY if self.arrays == Arrays::Counted => self.pass_array(1).map(Value::Array),
            ARRAY => self.array_of_values(1).map(Value::Array),
            _ => {
                let scalar = self.scalar(kind)?;
                let bytes = self.bytes(scalar.width())?;
                scalar.value(&bytes).ok_or_else(|| self.not_a_bool())
            }
        }
    }

    fn array_of_values(&mut self, depth: usize) -> Result<Array, Error> {
        let kind = self.kind_of_array(depth)?;
        Ok(match kind {
            STRING => {
                let count = self.count(8)?;
                Array::Strings(
                    (0..count)
                        .map(|_| self.string())
                        .collect::<Result<_, _>>()?,
                )
            }
            ARRAY => {
                let count = self.count(4 + 8)?;
                let arrays = (0..count).map(|_| self.array_of_values(depth + 1));
                Array::Arrays(arrays.collect::<Result<_, _>>()?)
            }
            _ => {
                let scalar = self.scalar(kind)?;
                let count = self.count(scalar.width())?;
                let bytes = self.bytes(count * scalar.width())?;
                let scalars = Scalars::new(scalar, bytes);
                Array::Scalars(scalars.ok_or_else(|| self.not_a_bool())?)
            }
        })
    }

    fn pass_array(&mut self, depth: usize) -> Result<Array, Error> {
        let kind = self.kind_of_array(depth)?;
        let count = match kind {
            STRING => {
                let count = self.count(8)?;
                for _ in 0..count {
                    let length = self.count(1)?;
                    self.pass(length)?;
                }
                count
            }
            ARRAY => {
                let count = self.count(4 + 8)?;
                for _ in 0..count {
                    self.pass_array(depth + 1)?;
                }
                count
            }
            _ => {
                let width = self.scalar(kind)?.width();
                let count = self.count(width)?;
                self.pass(count * width)?;
                count
            }
        };
        Ok(Array::Counted(count))
    }

    fn kind_of_array(&mut self, depth: usize) -> Result<u32, Error> {
        if depth > DEEPEST {
            return Err(self.damaged(format!("arrays lie more than {DEEPEST} deep")));
        }
        self.u32()
    }

    /// Numbers as in `enum gguf_metadata_value_type`.
    fn scalar(&self, kind: u32) -> Result<Scalar, Error> {
        Ok(match kind {
            0 => Scalar::U8,
            1 => Scalar::I8,
            2 => Scalar::U16,
            3 => Scalar::I16,
            4 => Scalar::U32,
            5 => Scalar::I32,
            6 => Scalar::F32,
            7 => Scalar::Bool,
            10 => Scalar::U64,
            11 => Scalar::I64,
            12 => Scalar::F64,
            _ => return Err(self.damaged(format!("there is no type of values {kind}"))),
        })
    }

    fn not_a_bool(&self) -> Error {
        self.damaged("a truth value is neither 0 nor 1")
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        self.expect(N as u64, 1)?;
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, Error> {
        self.expect(count as u64, 1)?;
        let mut bytes = vec![0; count];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        let unreadable = |source| Error::unreadable(self.path, source);
        self.source.read_exact(bytes).map_err(unreadable)?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    /// Passes over bytes that are known to be in the file.
    fn pass(&mut self, count: usize) -> Result<(), Error> {
        let mut bytes = self.source.by_ref().take(count as u64);
        let passed = match io::copy(&mut bytes, &mut io::sink()) {
            Ok(passed) if passed < count as u64 => Err(ErrorKind::UnexpectedEof.into()),
            passed => passed,
        };
        self.at += passed.map_err(|source| Error::unreadable(self.path, source))?;
        Ok(())
    }

    /// Refuses what the rest of the file, or of the longest head, cannot hold.
    fn expect(&self, count: u64, least: usize) -> Result<(), Error> {
        let needed = count.checked_mul(least as u64);
        let end = needed.and_then(|needed| self.at.checked_add(needed));
        match end {
            Some(end) if end <= self.size.min(LONGEST_HEAD) => Ok(()),
            Some(end) if end <= self.size => Err(self.damaged(format!(
                "metadata and tensor table are longer than {LONGEST_HEAD} bytes"
            ))),
            _ => Err(self.damaged(format!(
                "{count} × {least} bytes should follow, but the file ends after {}",
                self.size
            ))),
        }
    }
}

const STRING: u32 = 8;
const ARRAY: u32 = 9;
