//! Byte-level merges, as in GPT-2 and most models since.
//!
//! A file names the way its text is cut into words before the merges (`tokenizer.ggml.pre`). The patterns are those of the
//! models' own `tokenizer.json`; which name stands for which is `llm_tokenizer_bpe` in `llama-vocab.cpp`.

use serde_json::{Value as Json, json};
use tokenizers::models::bpe::{BPE, Vocab};

use super::vocabulary::Vocabulary;
use super::{PRE, Parts, damaged, missing, string, strings};
use crate::gguf::file::File;
use pool_core::gguf::Error;

/// How text becomes words.
struct Cut {
    /// Each cuts what the one before left.
    patterns: &'static [&'static str],
    /// Text is put in composed form first (NFC).
    composed: bool,
    /// A word that is a token is that token, whatever the merges say.
    whole_words: bool,
    /// A text begins with the begin token where the file does not say.
    add_bos: bool,
}

const NAMES: &str =
    "gpt-2, default, llama-bpe, smaug-bpe, dbrx, qwen2, deepseek-r1-qwen, smollm, tekken";
const MERGES: &str = "tokenizer.ggml.merges";

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Cut {
    fn named(name: &str) -> Option<Self> {
        let cut = |patterns| Self {
            patterns,
            composed: false,
            whole_words: false,
            add_bos: false,
        };
        Some(match name {
            "gpt-2" => cut(&[GPT2]),
            // What llama.cpp does with a file that says no more than this.
            "default" => cut(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
            "smollm" => cut(&[r"\p{N}", GPT2]),
            "dbrx" | "smaug-bpe" => cut(&[LLAMA3]),
            "llama-bpe" | "llama3" | "llama-v3" => Self {
                whole_words: true,
                add_bos: true,
                ..cut(&[LLAMA3])
            },
            "tekken" => Self {
                whole_words: true,
                add_bos: true,
                ..cut(&[TEKKEN])
            },
            "qwen2" | "deepseek-r1-qwen" => Self {
                composed: true,
                ..cut(&[QWEN2])
            },
            _ => return None,
        })
    }

    fn pre_tokenizer(&self) -> Json {
        let split = |pattern: &&str| {
            json!({
                "type": "Split",
                "pattern": { "Regex": pattern },
                "behavior": "Isolated",
                "invert": false,
            })
        };
        let mut steps: Vec<Json> = self.patterns.iter().map(split).collect();
        steps.push(bytes());
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}

/// Each byte as a printable character, and back.
fn bytes() -> Json {
    json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false })
}

pub(super) fn parts(file: &File, vocabulary: &Vocabulary) -> Result<Parts, Error> {
    let name = string(file, PRE)?.ok_or_else(|| missing(file, PRE))?;
    let cut = Cut::named(name).ok_or_else(|| {
        let what = format!("the pre-tokenizer `{}`", name.escape_debug());
        Error::unsupported(file.path(), what, NAMES)
    })?;
    let ids = vocabulary.ids();
    let merges = merges(file, &ids)?;
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(cut.whole_words);
    Ok(Parts {
        model: model
            .build()
            .map_err(|error| damaged(file, MERGES, error))?,
        normalizer: if cut.composed {
            json!({ "type": "NFC" })
        } else {
            Json::Null
        },
        pre_tokenizer: cut.pre_tokenizer(),
        decoder: bytes(),
        add_bos: cut.add_bos,
    })
}

/// Pairs of tokens that together are a token, first merged first.
fn merges(file: &File, ids: &Vocab) -> Result<Vec<(String, String)>, Error> {
    let merge = |merge: &String| {
        let pair = merge.split_once(' ').filter(|(left, right)| {
            let whole = format!("{left}{right}");
            [*left, *right, &whole]
                .iter()
                .all(|token| ids.contains_key(*token))
        });
        let (left, right) = pair.ok_or_else(|| {
            damaged(
                file,
                MERGES,
                format!("{merge:?} does not merge two tokens to one"),
            )
        })?;
        Ok((left.to_owned(), right.to_owned()))
    };
    strings(file, MERGES)?.iter().map(merge).collect()
}
