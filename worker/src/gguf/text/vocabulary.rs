//! The tokens of a file and what each is for.

use std::collections::{BTreeMap, HashMap};

use tokenizers::models::bpe::Vocab;

use super::{damaged, strings};
use crate::gguf::file::File;
use pool_core::gguf::Error;
use pool_core::gguf::{Scalars, Value};

/// What a token is for: `enum llama_token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Unused,
    Byte,
}

pub(super) struct Vocabulary<'a> {
    pub tokens: &'a [String],
    uses: Vec<Use>,
    /// Ids of `bos`, `eos`, `unk` and `pad`, as far as the file names them.
    pub roles: BTreeMap<&'static str, u32>,
}

pub(super) const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const ROLES: [(&str, &str); 4] = [
    ("bos", "tokenizer.ggml.bos_token_id"),
    ("eos", "tokenizer.ggml.eos_token_id"),
    ("unk", "tokenizer.ggml.unknown_token_id"),
    ("pad", "tokenizer.ggml.padding_token_id"),
];

impl<'a> Vocabulary<'a> {
    pub fn read(file: &'a File) -> Result<Self, Error> {
        let tokens = strings(file, TOKENS)?;
        let mut roles = BTreeMap::new();
        for (role, key) in ROLES {
            if let Some(value) = file.metadata().get(key) {
                let id = value.as_u64().filter(|&id| id < tokens.len() as u64);
                let wrong = || damaged(file, key, format!("{value:?} is no token"));
                roles.insert(role, id.ok_or_else(wrong)? as u32);
            }
        }
        let uses = if let Some(types) = file.metadata().get(TYPES) {
            uses(file, types, tokens.len())?
        } else {
            // Any token may be the padding, an ordinary one too.
            let mut uses = vec![Use::Normal; tokens.len()];
            for (_, &id) in roles.iter().filter(|(role, _)| **role != "pad") {
                uses[id as usize] = Use::Control;
            }
            uses
        };
        let vocabulary = Self {
            tokens,
            uses,
            roles,
        };
        vocabulary.refuse_twins(file)?;
        Ok(vocabulary)
    }

    pub fn token(&self, id: u32) -> &str {
        &self.tokens[id as usize]
    }

    /// Tokens with their use, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&'a String, &Use)> {
        self.tokens.iter().zip(&self.uses)
    }

    /// What is in use, for `tokenizers`. A token without a use keeps its id where its text is no other's.
    pub fn ids(&self) -> Vocab {
        let (unused, used): (Vec<usize>, Vec<usize>) =
            (0..self.tokens.len()).partition(|&id| self.uses[id] == Use::Unused);
        // What is in use comes last and stays.
        let ids = unused.into_iter().chain(used);
        ids.map(|id| (self.tokens[id].clone(), id as u32)).collect()
    }

    fn refuse_twins(&self, file: &File) -> Result<(), Error> {
        let mut seen = HashMap::new();
        for (id, (token, usage)) in self.iter().enumerate() {
            if *usage == Use::Unused {
                continue;
            }
            if let Some(first) = seen.insert(token, id) {
                let reason = format!("tokens {first} and {id} are both {token:?}");
                return Err(damaged(file, TOKENS, reason));
            }
        }
        Ok(())
    }
}

fn uses(file: &File, types: &Value, count: usize) -> Result<Vec<Use>, Error> {
    let scalars = types.as_scalars().map(Scalars::values);
    let scalars = scalars.filter(|types| types.len() == count);
    let wrong = || damaged(file, TYPES, format!("it is no list of {count} numbers"));
    let usage = |value: Value| match value.as_u64() {
        Some(1) => Ok(Use::Normal),
        Some(2) => Ok(Use::Unknown),
        Some(3) => Ok(Use::Control),
        Some(4) => Ok(Use::UserDefined),
        Some(5) => Ok(Use::Unused),
        Some(6) => Ok(Use::Byte),
        _ => Err(damaged(file, TYPES, format!("there is no type {value:?}"))),
    };
    scalars.ok_or_else(wrong)?.map(usage).collect()
}
