//! Words to tokens and back: the tokenizer, the chat template, the tokens that end an answer.
//!
//! | module | holds |
//! |---|---|
//! | `chat` | the model's own chat template |
//! | `detokenizer` | tokens to whole characters, one token at a time |
//! | `token` | what a single token stands for |
//! | `stop` | texts that end an answer, across the borders of tokens |

mod chat;
mod detokenizer;
mod stop;
mod token;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use pool_core::serving::{Input, Message};
use serde::Deserialize;
use tokenizers::Tokenizer;

pub use chat::{ChatError, ChatTemplate};
pub use detokenizer::Detokenizer;
pub use stop::StopMatcher;

use token::Spelling;

use crate::gguf;
use crate::model::{Config, ModelError, OneOrMore, files, gguf_file};

const TOKENIZER: &str = "tokenizer.json";

/// Characters that the name of a special token has at most.
const LONGEST_TOKEN: usize = 256;

/// How one model reads and writes.
pub struct Text {
    tokenizer: Tokenizer,
    chat: ChatTemplate,
    /// Each of these tokens ends an answer.
    eos: BTreeSet<u32>,
    spelling: Spelling,
    /// Tokens that the model knows: the first of all ids.
    vocab: usize,
}

impl Text {
    /// Reads `tokenizer.json`, `tokenizer_config.json`, `chat_template.jinja` and `generation_config.json`.
    ///
    /// A GGUF file speaks for the first where it is absent, and for the next two where both are.
    pub fn read(dir: &Path, config: &Config) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct Generation {
            eos_token_id: Option<OneOrMore>,
        }
        let plain = files::text(dir, TOKENIZER)?;
        let chat = ChatTemplate::read(dir)?;
        let words = match gguf_file(dir)? {
            Some(path) if plain.is_none() || chat.is_none() => {
                Some((gguf::Checkpoint::open(&path)?.text(), path))
            }
            _ => None,
        };
        let mut place = dir.join(TOKENIZER);
        let (tokenizer, words) = match (plain, words) {
            (Some(text), words) => {
                let tokenizer = parse(&place, &text)?;
                // Only its template is wanted, and there need not be one.
                (tokenizer, words.and_then(|(words, _)| words.ok()))
            }
            (None, Some((words, path))) => {
                let words = words?;
                place = path;
                (words.tokenizer.clone(), Some(words))
            }
            (None, None) => {
                let dir = dir.to_owned();
                let file = TOKENIZER;
                return Err(ModelError::Missing { dir, file });
            }
        };
        check(&tokenizer, &place, config)?;
        let from_gguf = || {
            let words = words.map(|words| (words.chat_template, words.special_tokens));
            let (template, special) = words.unwrap_or_default();
            ChatTemplate::new(template, special)
        };
        let generation: Option<Generation> = files::json(dir, "generation_config.json")?;
        let generation = generation.and_then(|generation| generation.eos_token_id);
        let mut text = Self {
            eos: config.eos.iter().copied().collect(),
            spelling: Spelling::of(&tokenizer),
            vocab: config.vocab,
            tokenizer,
            chat: chat.unwrap_or_else(from_gguf),
        };
        text.eos
            .extend(generation.into_iter().flat_map(OneOrMore::into_vec));
        text.eos.extend(text.id_of(text.chat.eos_token()));
        text.eos.extend(text.token_after_answer());
        text.try_out(&place)?;
        Ok(text)
    }

    /// The tokens of an input, as the model saw its like in training.
    ///
    /// A raw prompt gets the tokenizer's own special tokens; a rendered conversation has them in it already.
    pub fn encode(&self, input: &Input) -> Result<Vec<u32>, ChatError> {
        self.encode_with(input, None)
    }

    /// The same, with or without the tokenizer's own special tokens where that is said.
    pub fn encode_with(
        &self,
        input: &Input,
        add_special_tokens: Option<bool>,
    ) -> Result<Vec<u32>, ChatError> {
        let add = |usual: bool| add_special_tokens.unwrap_or(usual);
        match input {
            Input::Prompt(prompt) => self.ids(prompt, add(true)),
            Input::Messages(messages) => self.ids(&self.chat.render(messages, true)?, add(false)),
        }
    }

    /// Whether model and tokenizer both have this token.
    pub fn has(&self, id: u32) -> bool {
        (id as usize) < self.vocab && self.tokenizer.id_to_token(id).is_some()
    }

    /// The bytes of a single token, which need not be whole UTF-8; of a special one its name.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.tokenizer.id_to_token(id) else {
            return Vec::new();
        };
        let added = self.tokenizer.get_added_vocabulary();
        if added.get_added_tokens_decoder().contains_key(&id) {
            return token.into_bytes();
        }
        self.spelling.bytes(&token)
    }

    /// The text of tokens, without the special ones.
    pub fn decode(&self, ids: &[u32]) -> String {
        self.tokenizer.decode(ids, true).unwrap_or_default()
    }

    pub fn is_eos(&self, id: u32) -> bool {
        self.eos.contains(&id)
    }

    fn ids(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, ChatError> {
        let encoding = self.tokenizer.encode_fast(text, add_special_tokens);
        // The error of the tokenizer may quote the text.
        let encoding = encoding.map_err(|_| ChatError::Words)?;
        let ids = encoding.get_ids();
        match ids.iter().find(|&&id| id as usize >= self.vocab) {
            None => Ok(ids.to_vec()),
            Some(&id) => Err(ChatError::Unlearned(id)),
        }
    }

    /// Refuses a tokenizer that fails at the first text, before anybody asks for one.
    fn try_out(&self, path: &Path) -> Result<(), ModelError> {
        let read_and_write = || -> Result<(), ChatError> {
            let mut detokenizer = Detokenizer::default();
            for id in self.ids("A text.", true)? {
                detokenizer.push(id, self);
            }
            detokenizer.flush(self);
            Ok(())
        };
        let failed = |reason: &dyn Display| {
            let reason = format!("it cannot read and write a short text: {reason}");
            ModelError::damaged(path, reason)
        };
        match catch_unwind(AssertUnwindSafe(read_and_write)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"it fails inside")),
        }
    }

    fn id_of(&self, token: Option<&str>) -> Option<u32> {
        self.tokenizer.token_to_id(token?)
    }

    /// The special token that the chat template puts after an answer: what the model says when it is done.
    fn token_after_answer(&self) -> Option<u32> {
        const ANSWER: &str = "an answer";
        let message = |role: &str, content: &str| Message {
            role: role.to_owned(),
            content: content.to_owned(),
        };
        let messages = [message("user", "a question"), message("assistant", ANSWER)];
        let rendered = self.chat.render(&messages, false).ok()?;
        let (_, after) = rendered.rsplit_once(ANSWER)?;
        // The token that ends the answer is the first of what follows.
        let after: String = after.chars().take(LONGEST_TOKEN).collect();
        let id = *self.ids(&after, false).ok()?.first()?;
        self.tokenizer
            .get_added_vocabulary()
            .is_special_token(&self.tokenizer.id_to_token(id)?)
            .then_some(id)
    }
}

fn parse(path: &Path, text: &str) -> Result<Tokenizer, ModelError> {
    let damaged = |error: tokenizers::Error| ModelError::damaged(path, error);
    let mut tokenizer: Tokenizer = text.parse().map_err(damaged)?;
    // A file saved from training may carry both; a prompt is never cut in silence.
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(damaged)?;
    Ok(tokenizer)
}

/// Refuses words that the model cannot have learned.
fn check(tokenizer: &Tokenizer, path: &Path, config: &Config) -> Result<(), ModelError> {
    // Tokens added later may lie beyond the model: some fine-tunes have a padding token that it never learned.
    let highest = tokenizer.get_vocab(false).into_values().max();
    let Some(id) = highest.filter(|&id| id as usize >= config.vocab) else {
        return Ok(());
    };
    let vocab = config.vocab;
    let reason =
        format!("it has the token {id}, the model only {vocab}: they do not belong together");
    Err(ModelError::damaged(path, reason))
}
