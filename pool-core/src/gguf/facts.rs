//! What the head of a GGUF file says of its model.

use std::io::Read;
use std::path::Path;

use super::error::Error;
use super::header::{Header, TableLine};
use super::reader::{Arrays, Reader};
use super::value::{Array, Value};
use crate::model::{Format, ModelFacts};

const ARCHITECTURE: &str = "general.architecture";
const KIND: &str = "general.file_type";
const TOKENS: &str = "tokenizer.ggml.tokens";

impl ModelFacts {
    /// Reads them from the start of a GGUF file of `size` bytes, which errors call `path`.
    ///
    /// Reads metadata and tensor table, [`LONGEST_HEAD`](super::LONGEST_HEAD) bytes at most, and keeps no list of tokens.
    /// A file that ends before they do is damaged. The weights are not looked at.
    pub fn from_gguf(path: &Path, size: u64, source: impl Read) -> Result<Self, Error> {
        let mut reader = Reader::new(path, source, size, Arrays::Counted);
        let header = Header::read(&mut reader)?;
        for number in 0..header.tensors {
            TableLine::read(&mut reader, number, header.tensors)?;
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
        Ok(Self {
            format: Format::Gguf,
            context_length: said.need(&key("context_length"), NO_NUMBER, whole)?,
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
