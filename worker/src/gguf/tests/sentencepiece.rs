use std::collections::HashMap;

use proptest::prelude::*;

use super::model::model;
use super::text::{ids, read};
use super::writer::Writer;
use super::{noise, on_disk};
use crate::gguf::{Architecture, Checkpoint};

const SPECIAL: [(&str, i32); 4] = [("<unk>", 2), ("<s>", 3), ("</s>", 3), ("<|end|>", 3)];

/// A vocabulary of special tokens, bytes, and pieces from best to worst.
fn with_pieces(architecture: Architecture, pieces: &[String]) -> Writer {
    let bytes = (0..256).map(|byte| (format!("<0x{byte:02X}>"), 6));
    let special = SPECIAL.map(|(token, kind)| (token.to_owned(), kind));
    let pieces = pieces.iter().map(|piece| (piece.clone(), 1));
    let all: Vec<(String, i32)> = special.into_iter().chain(bytes).chain(pieces).collect();
    let (tokens, types): (Vec<String>, Vec<i32>) = all.into_iter().unzip();
    let score = |(at, kind): (usize, &i32)| if *kind == 1 { -(at as f32) } else { 0.0 };
    let scores: Vec<f32> = types.iter().enumerate().map(score).collect();
    let mut writer = model(architecture);
    writer
        .string("tokenizer.ggml.model", "llama")
        .string("tokenizer.ggml.pre", "default")
        .remove("tokenizer.ggml.merges")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .f32s("tokenizer.ggml.scores", &scores)
        .u32("tokenizer.ggml.bos_token_id", 1)
        .u32("tokenizer.ggml.eos_token_id", 2);
    writer
}

/// Pieces as training makes them: each the union of two that are there.
fn pieces(seed: u64, count: usize) -> Vec<String> {
    let mut pieces: Vec<String> = ["a", "b", "c", "é", "▁"].map(str::to_owned).into();
    let mut noise = noise(seed);
    while pieces.len() < count {
        let mut pick = || pieces[noise() as usize % pieces.len()].clone();
        let union = format!("{}{}", pick(), pick());
        if union.chars().count() <= 8 && !pieces.contains(&union) {
            pieces.push(union);
        }
    }
    // Characters have the worst scores.
    pieces.rotate_left(5);
    pieces
}

/// The algorithm of `SentencePiece`, as slow as it can be said: the neighbours whose union has the best score become one, the
/// leftmost where two are as good.
fn slowly(pieces: &[String], text: &str) -> Vec<u32> {
    let first = (SPECIAL.len() + 256) as u32;
    let rank: HashMap<&str, u32> = (0..)
        .zip(pieces)
        .map(|(at, piece)| (piece.as_str(), at))
        .collect();
    let text = format!("▁{}", text.replace(' ', "▁"));
    let mut symbols: Vec<String> = text.chars().map(String::from).collect();
    loop {
        let union = |at: usize| format!("{}{}", symbols[at], symbols[at + 1]);
        let ranked =
            (0..symbols.len() - 1).filter_map(|at| Some((*rank.get(union(at).as_str())?, at)));
        let Some((_, at)) = ranked.min() else { break };
        let right = symbols.remove(at + 1);
        symbols[at].push_str(&right);
    }
    let id = |symbol: &String| match rank.get(symbol.as_str()) {
        Some(at) => vec![first + at],
        None => symbol
            .bytes()
            .map(|byte| SPECIAL.len() as u32 + u32::from(byte))
            .collect(),
    };
    symbols.iter().flat_map(id).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn merges_from_scores_are_those_of_sentencepiece(
        seed: u64,
        texts in prop::collection::vec("[abcé xé]{1,40}", 20),
    ) {
        let pieces = pieces(seed, 40);
        let tokenizer = read(&with_pieces(Architecture::Llama, &pieces)).unwrap().tokenizer;
        for text in texts {
            let found = ids(&tokenizer, &text, false);
            prop_assert_eq!(&found, &slowly(&pieces, &text), "{:?} {:?}", &text, &pieces);
            prop_assert_eq!(tokenizer.decode(&found, true).unwrap(), text);
        }
    }
}

#[test]
fn a_text_begins_with_the_begin_token_and_as_if_after_a_space() {
    let pieces = pieces(1, 20);
    let space = 260 + pieces.iter().position(|piece| piece == "▁").unwrap() as u32;
    let mut writer = with_pieces(Architecture::Llama, &pieces);
    let tokenizer = read(&writer).unwrap().tokenizer;
    assert_eq!(ids(&tokenizer, "x", true), [1, space, 4 + 0x78]);
    assert_eq!(ids(&tokenizer, "", true), [1]);
    // So does what follows a special token.
    assert_eq!(ids(&tokenizer, "</s>x", false), [2, space, 4 + 0x78]);
    writer.bool("tokenizer.ggml.add_space_prefix", false);
    let tokenizer = read(&writer).unwrap().tokenizer;
    assert_eq!(ids(&tokenizer, "x", true), [1, 4 + 0x78]);
    assert_eq!(tokenizer.decode(&[space, 4 + 0x78], true).unwrap(), " x");
}

#[test]
fn phi3_takes_away_the_space_after_its_control_tokens() {
    let text = "<|end|> \n<s> x";
    let found = |architecture| {
        let writer = with_pieces(architecture, &pieces(1, 20));
        ids(&read(&writer).unwrap().tokenizer, text, false).len()
    };
    // In phi3, the two characters after <|end|> and the space that its text would begin with are not there.
    assert_eq!(found(Architecture::Llama) - found(Architecture::Phi3), 3);
}

#[test]
fn scores_that_do_not_say_the_order_are_refused() {
    let refusal = |scores: &[f32]| {
        let mut writer = with_pieces(Architecture::Llama, &pieces(1, 20));
        writer.f32s("tokenizer.ggml.scores", scores);
        let (_dir, path) = on_disk(&writer.bytes());
        let error = Checkpoint::open(&path)
            .unwrap()
            .text()
            .err()
            .expect("the scores were taken");
        error.to_string()
    };
    assert!(refusal(&[-1000.0; 280]).contains("have the same score"));
    assert!(refusal(&[0.0; 279]).contains("no list of 280"));
    assert!(refusal(&[f32::NAN; 280]).contains("finite"));
    let mut writer = with_pieces(Architecture::Llama, &["a".repeat(65)]);
    let error = read(&writer).err().unwrap().to_string();
    assert!(error.contains("more than 64 characters"), "{error}");
    writer.remove("tokenizer.ggml.scores");
    assert!(read(&writer).is_err());
}
