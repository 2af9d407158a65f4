//! Merges by score, as `SentencePiece` makes them for LLaMA, Mistral and Phi-3.
//!
//! A vocabulary of scores says: merge the neighbours whose union has the best score. `tokenizers` wants the pairs in
//! order, so the pairs are all the ways to cut each token in two tokens, by the score of the union: `generate_merges` in
//! `convert_slow_tokenizer.py` of `transformers`, which made the `tokenizer.json` of these models.

use std::cmp::Reverse;
use std::collections::HashMap;

use serde_json::{Value as Json, json};
use tokenizers::models::bpe::BPE;

use super::vocabulary::{TOKENS, Use, Vocabulary};
use super::{MODEL, Parts, damaged, flag};
use crate::gguf::file::File;
use pool_core::gguf::Error;
use pool_core::gguf::Value;

const SCORES: &str = "tokenizer.ggml.scores";

/// Characters of a token that merges make. `SentencePiece` stops at 16 unless told otherwise; the ways to cut a token and
/// their lengths grow with its square.
const LONGEST: usize = 64;

/// The character that stands for a space.
const SPACE: &str = "▁";

pub(super) fn parts(file: &File, vocabulary: &Vocabulary) -> Result<Parts, Error> {
    let merges = merges(file, vocabulary)?;
    let mut model = BPE::builder()
        .vocab_and_merges(vocabulary.ids(), merges)
        .fuse_unk(true)
        .byte_fallback(true);
    let unknown = vocabulary.iter().find(|(_, usage)| **usage == Use::Unknown);
    if let Some((token, _)) = unknown {
        model = model.unk_token(token.clone());
    }
    // A text begins as if after a space, and so does what follows a special token.
    let as_after_space = flag(file, "tokenizer.ggml.add_space_prefix", true)?;
    let mut normalizers = Vec::new();
    let mut decoders = vec![
        json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " }),
        json!({ "type": "ByteFallback" }),
        json!({ "type": "Fuse" }),
    ];
    if as_after_space {
        normalizers.push(json!({ "type": "Prepend", "prepend": SPACE }));
        decoders.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    normalizers.push(json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE }));
    Ok(Parts {
        model: model.build().map_err(|error| damaged(file, MODEL, error))?,
        normalizer: json!({ "type": "Sequence", "normalizers": normalizers }),
        pre_tokenizer: Json::Null,
        decoder: json!({ "type": "Sequence", "decoders": decoders }),
        add_bos: true,
    })
}

fn merges(file: &File, vocabulary: &Vocabulary) -> Result<Vec<(String, String)>, Error> {
    let scores = scores(file, vocabulary.tokens.len())?;
    let normal = vocabulary.iter().zip(scores);
    let normal: HashMap<&str, (usize, f32)> = normal
        .enumerate()
        .filter(|(_, ((_, usage), _))| **usage == Use::Normal)
        .map(|(id, ((token, _), score))| (token.as_str(), (id, score)))
        .collect();
    let mut merges = Vec::new();
    for (&token, &(id, score)) in &normal {
        if token.chars().nth(LONGEST).is_some() {
            let reason = format!("token {id} has more than {LONGEST} characters");
            return Err(damaged(file, TOKENS, reason));
        }
        for (at, _) in token.char_indices().skip(1) {
            let (left, right) = token.split_at(at);
            if normal.contains_key(left) && normal.contains_key(right) {
                merges.push((score, id, left, right));
            }
        }
    }
    // Of the ways to make one token, the one with the longest beginning comes first.
    merges.sort_unstable_by(|a, b| {
        let order = |it: &(f32, usize, &str, &str)| (it.1, Reverse(it.2.len()));
        b.0.total_cmp(&a.0).then_with(|| order(a).cmp(&order(b)))
    });
    let tie = |pair: &&[(f32, usize, &str, &str)]| {
        pair[0].0.total_cmp(&pair[1].0).is_eq() && pair[0].1 != pair[1].1
    };
    if let Some([first, second]) = merges.windows(2).find(tie) {
        let reason = format!(
            "tokens {} and {} have the same score, so which of them is merged first is not known: \
             put the model's tokenizer.json beside the file",
            first.1, second.1
        );
        return Err(damaged(file, SCORES, reason));
    }
    let merge = |(_, _, left, right): (f32, usize, &str, &str)| (left.to_owned(), right.to_owned());
    Ok(merges.into_iter().map(merge).collect())
}

fn scores(file: &File, count: usize) -> Result<Vec<f32>, Error> {
    let wrong = || damaged(file, SCORES, format!("it is no list of {count} finite f32"));
    let value = file.metadata().get(SCORES).ok_or_else(wrong)?;
    let scores = value.as_scalars().ok_or_else(wrong)?.values();
    let scores = scores.map(|score| match score {
        Value::F32(score) if score.is_finite() => Some(score),
        _ => None,
    });
    let scores: Option<Vec<f32>> = scores.collect();
    scores
        .filter(|scores| scores.len() == count)
        .ok_or_else(wrong)
}
