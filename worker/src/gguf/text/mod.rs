//! Words: the tokenizer, the chat template and the special tokens, from metadata.
//!
//! | module | holds |
//! |---|---|
//! | `vocabulary` | the tokens and what each is for |
//! | `byte_level` | `tokenizer.ggml.model` = `gpt2`: merges of bytes, as in GPT-2 and after |
//! | `sentencepiece` | `tokenizer.ggml.model` = `llama`: merges by score, bytes for what is unknown |

mod byte_level;
mod sentencepiece;
mod vocabulary;

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use tokenizers::models::bpe::BPE;
use tokenizers::{AddedToken, Tokenizer};

use super::file::File;
use pool_core::gguf::Error;
use pool_core::gguf::Value;
use vocabulary::{Use, Vocabulary};

/// How a model reads and writes.
pub struct Text {
    /// Adds the begin and end tokens that the metadata asks for, when asked for special tokens.
    pub tokenizer: Tokenizer,
    /// Jinja, in the Hugging Face dialect.
    pub chat_template: Option<String>,
    /// `bos_token`, `eos_token`, `unk_token` and `pad_token`, as a template names them.
    pub special_tokens: BTreeMap<String, String>,
}

const MODEL: &str = "tokenizer.ggml.model";
const PRE: &str = "tokenizer.ggml.pre";

/// What one way of tokenizing is made of: `tokenizers`' parts, in the form of `tokenizer.json`.
struct Parts {
    model: BPE,
    normalizer: Json,
    pre_tokenizer: Json,
    decoder: Json,
    add_bos: bool,
}

impl Text {
    pub(super) fn read(file: &File) -> Result<Self, Error> {
        let vocabulary = Vocabulary::read(file)?;
        let name = string(file, MODEL)?;
        let parts = match name.ok_or_else(|| missing(file, MODEL))? {
            "gpt2" => byte_level::parts(file, &vocabulary)?,
            "llama" => sentencepiece::parts(file, &vocabulary)?,
            other => {
                let what = format!("the tokenizer `{}`", other.escape_debug());
                return Err(Error::unsupported(file.path(), what, "gpt2, llama"));
            }
        };
        let mut special_tokens = BTreeMap::new();
        for (role, id) in &vocabulary.roles {
            special_tokens.insert(format!("{role}_token"), vocabulary.token(*id).to_owned());
        }
        Ok(Self {
            tokenizer: tokenizer(file, &vocabulary, parts)?,
            chat_template: string(file, "tokenizer.chat_template")?.map(str::to_owned),
            special_tokens,
        })
    }
}

fn tokenizer(file: &File, vocabulary: &Vocabulary, parts: Parts) -> Result<Tokenizer, Error> {
    let refused = |error: tokenizers::Error| damaged(file, MODEL, error);
    let bos = flag(file, "tokenizer.ggml.add_bos_token", parts.add_bos)?;
    let eos = flag(file, "tokenizer.ggml.add_eos_token", false)?;
    let mut tokenizer = Tokenizer::new(parts.model);
    tokenizer
        .with_normalizer(part::<tokenizers::NormalizerWrapper>(
            file,
            parts.normalizer,
        )?)
        .map_err(refused)?
        .with_pre_tokenizer(part::<tokenizers::PreTokenizerWrapper>(
            file,
            parts.pre_tokenizer,
        )?)
        .with_decoder(part::<tokenizers::DecoderWrapper>(file, parts.decoder)?)
        .with_post_processor(part::<tokenizers::PostProcessorWrapper>(
            file,
            frame(vocabulary, bos, eos),
        )?);
    tokenizer
        .add_tokens(added(file, vocabulary)?)
        .map_err(refused)?;
    Ok(tokenizer)
}

fn part<T: DeserializeOwned>(file: &File, part: Json) -> Result<Option<T>, Error> {
    serde_json::from_value(part).map_err(|error| damaged(file, MODEL, error))
}

/// The tokens around a text.
fn frame(vocabulary: &Vocabulary, bos: bool, eos: bool) -> Json {
    let role = |role: &str, wanted: bool| vocabulary.roles.get(role).filter(|_| wanted);
    let (bos, eos) = (role("bos", bos), role("eos", eos));
    if bos.is_none() && eos.is_none() {
        return Json::Null;
    }
    let mut specials = json!({});
    let mut special = |id: &u32| {
        let token = vocabulary.token(*id);
        specials[token] = json!({ "id": token, "ids": [id], "tokens": [token] });
        json!({ "SpecialToken": { "id": token, "type_id": 0 } })
    };
    let (bos, eos) = (bos.map(&mut special), eos.map(&mut special));
    let framed = |sequences: &[&str]| {
        let text = |id: &&str| json!({ "Sequence": { "id": id, "type_id": 0 } });
        let texts = sequences.iter().map(text);
        let all = bos.iter().cloned().chain(texts).chain(eos.clone());
        all.collect::<Vec<Json>>()
    };
    json!({
        "type": "TemplateProcessing",
        "single": framed(&["A"]),
        "pair": framed(&["A", "B"]),
        "special_tokens": specials,
    })
}

/// Tokens that a text contains as they are written, and that no merge makes.
fn added(file: &File, vocabulary: &Vocabulary) -> Result<Vec<AddedToken>, Error> {
    // Phi-3 was trained with the white space after its control tokens taken away; GGUF has no place to say so, and
    // llama.cpp knows it by the model's name as well.
    let phi3 = string(file, "general.architecture")? == Some("phi3")
        && string(file, MODEL)? == Some("llama");
    let plain = ["<unk>", "<s>", "<|endoftext|>"];
    let added = |(token, usage): (&String, &Use)| {
        let special = match usage {
            Use::Control | Use::Unknown => true,
            Use::UserDefined => false,
            Use::Normal | Use::Unused | Use::Byte => return None,
        };
        let rstrip = phi3 && (special || token == "</s>") && !plain.contains(&token.as_str());
        let token = AddedToken::from(token.clone(), special).normalized(false);
        Some(token.rstrip(rstrip))
    };
    Ok(vocabulary.iter().filter_map(added).collect())
}

fn missing(file: &File, key: &str) -> Error {
    Error::missing(file.path(), format!("key `{key}`"))
}

fn damaged(file: &File, key: &str, reason: impl ToString) -> Error {
    Error::damaged(file.path(), format!("the key `{key}`"), reason)
}

fn string<'a>(file: &'a File, key: &str) -> Result<Option<&'a str>, Error> {
    let text = |value: &'a Value| {
        let text = value.as_str();
        text.ok_or_else(|| damaged(file, key, "it is no string"))
    };
    file.metadata().get(key).map(text).transpose()
}

fn flag(file: &File, key: &str, default: bool) -> Result<bool, Error> {
    let Some(value) = file.metadata().get(key) else {
        return Ok(default);
    };
    value
        .as_bool()
        .ok_or_else(|| damaged(file, key, "it is no truth value"))
}

fn strings<'a>(file: &'a File, key: &str) -> Result<&'a [String], Error> {
    let value = file.metadata().get(key).ok_or_else(|| missing(file, key))?;
    let strings = value.as_strings();
    strings.ok_or_else(|| damaged(file, key, "it is no list of strings"))
}
