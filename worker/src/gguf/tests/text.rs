use std::collections::BTreeMap;

use tokenizers::Tokenizer;

use super::model::model;
use super::writer::Writer;
use super::{Change, on_disk};
use crate::gguf::{Architecture, Checkpoint, Error, Text};

/// The character that stands for each byte: printable ones for themselves, the others above 255.
fn byte_characters() -> Vec<char> {
    let mut unprintable = 256..;
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let code = (0..256).map(|byte| {
        if printable(byte) {
            byte
        } else {
            unprintable.next().unwrap()
        }
    });
    code.map(|code| char::from_u32(code).unwrap()).collect()
}

const BOS: u32 = 256;
const EOS: u32 = 257;
const TURN: u32 = 258;
const TOOL: u32 = 259;
const HELLO: u32 = 263;
const TWELVE: u32 = 265;

/// A byte-level vocabulary: the bytes, four added tokens, six merges, and what is left unused.
pub fn add_byte_level(writer: &mut Writer, count: usize) {
    let mut tokens: Vec<String> = byte_characters().iter().map(char::to_string).collect();
    let added = ["<s>", "</s>", "<|turn|>", "<tool>"];
    let merges = ["h e", "l l", "he ll", "hell o", "Ġ w", "1 2"];
    tokens.extend(added.map(str::to_owned));
    tokens.extend(merges.map(|merge| merge.replace(' ', "")));
    let mut types = vec![1; tokens.len()];
    types[BOS as usize..TOOL as usize].fill(3);
    types[TOOL as usize] = 4;
    while tokens.len() < count {
        // Padding may repeat itself.
        tokens.push("[PAD]".to_owned());
        types.push(5);
    }
    writer
        .string("tokenizer.ggml.model", "gpt2")
        .string("tokenizer.ggml.pre", "gpt-2")
        .strings("tokenizer.ggml.tokens", &tokens)
        .i32s("tokenizer.ggml.token_type", &types)
        .strings("tokenizer.ggml.merges", &merges)
        .u32("tokenizer.ggml.bos_token_id", BOS)
        .u32("tokenizer.ggml.eos_token_id", EOS)
        .string("tokenizer.chat_template", "{{ bos_token }}");
}

fn llama() -> Writer {
    model(Architecture::Llama)
}

pub fn read(writer: &Writer) -> Result<Text, Error> {
    let (_dir, path) = on_disk(&writer.bytes());
    Checkpoint::open(&path)?.text()
}

fn refusal(writer: &Writer) -> String {
    read(writer)
        .err()
        .expect("the words were taken")
        .to_string()
}

pub fn ids(tokenizer: &Tokenizer, text: &str, special: bool) -> Vec<u32> {
    tokenizer.encode(text, special).unwrap().get_ids().to_vec()
}

#[test]
fn merges_make_words_and_bytes_make_the_rest() {
    let tokenizer = read(&llama()).unwrap().tokenizer;
    assert_eq!(ids(&tokenizer, "hello", false), [HELLO]);
    assert_eq!(ids(&tokenizer, "a\n", false), [97, 10]);
    for text in ["hello wörld 12", "日本語\u{0}\t", " leading", ""] {
        let found = ids(&tokenizer, text, true);
        assert_eq!(tokenizer.decode(&found, true).unwrap(), text);
    }
}

#[test]
fn added_tokens_are_found_in_text_and_control_tokens_left_out_of_it() {
    let tokenizer = read(&llama()).unwrap().tokenizer;
    let found = ids(&tokenizer, "<|turn|>hello<tool></s>", false);
    assert_eq!(found, [TURN, HELLO, TOOL, EOS]);
    assert_eq!(tokenizer.decode(&found, true).unwrap(), "hello<tool>");
    assert_eq!(
        tokenizer.decode(&found, false).unwrap(),
        "<|turn|>hello<tool></s>"
    );
}

#[test]
fn a_text_is_framed_as_the_file_asks() {
    let framed = |change: &dyn Fn(&mut Writer)| {
        let mut writer = llama();
        change(&mut writer);
        ids(&read(&writer).unwrap().tokenizer, "hello", true)
    };
    let add = |role: &str| format!("tokenizer.ggml.add_{role}_token");
    assert_eq!(framed(&|_| {}), [HELLO]);
    assert_eq!(
        framed(&|it| {
            it.bool(&add("bos"), true);
        }),
        [BOS, HELLO]
    );
    assert_eq!(
        framed(&|it| {
            it.bool(&add("eos"), true);
        }),
        [HELLO, EOS]
    );
    // Llama 3 begins its texts where the file does not say.
    assert_eq!(
        framed(&|it| {
            it.string("tokenizer.ggml.pre", "llama-bpe");
        }),
        [BOS, HELLO]
    );
    assert_eq!(
        framed(&|it| {
            it.string("tokenizer.ggml.pre", "llama-bpe")
                .bool(&add("bos"), false);
        }),
        [HELLO]
    );
}

#[test]
fn each_name_cuts_words_in_its_own_way() {
    let found = |pre: &str, text: &str| {
        let mut writer = llama();
        writer.string("tokenizer.ggml.pre", pre);
        ids(&read(&writer).unwrap().tokenizer, text, false)
    };
    for pre in ["gpt-2", "default", "llama-bpe", "smaug-bpe", "dbrx"] {
        assert_eq!(found(pre, "12"), [TWELVE], "{pre}");
    }
    for pre in ["qwen2", "deepseek-r1-qwen", "smollm", "tekken"] {
        assert_eq!(found(pre, "12"), [49, 50], "{pre}");
    }
    // Digits three by three: the 1 is the last of the first three, the 2 the first of the next.
    assert_eq!(found("llama-bpe", "0012"), [48, 48, 49, 50]);
    assert_eq!(found("gpt-2", "0012"), [48, 48, TWELVE]);
    // Composed and decomposed are one character.
    assert_eq!(found("qwen2", "e\u{301}"), found("qwen2", "é"));
    assert_ne!(found("gpt-2", "e\u{301}"), found("gpt-2", "é"));
}

#[test]
fn template_and_special_tokens_are_those_of_the_file() {
    let mut writer = llama();
    writer.u32("tokenizer.ggml.padding_token_id", 3);
    let text = read(&writer).unwrap();
    assert_eq!(text.chat_template.as_deref(), Some("{{ bos_token }}"));
    let expected = [
        ("bos_token", "<s>"),
        ("eos_token", "</s>"),
        ("pad_token", "ă"),
    ];
    let expected: BTreeMap<String, String> = expected
        .map(|(role, token)| (role.to_owned(), token.to_owned()))
        .into();
    assert_eq!(text.special_tokens, expected);
    let text = read(writer.remove("tokenizer.chat_template")).unwrap();
    assert_eq!(text.chat_template, None);
}

#[test]
fn without_types_the_named_tokens_are_the_special_ones() {
    let mut writer = llama();
    let tokens: Vec<String> = byte_characters().iter().map(char::to_string).collect();
    let tokens = [tokens, vec!["<s>".to_owned(), "</s>".to_owned()]].concat();
    writer
        .remove("tokenizer.ggml.token_type")
        .strings("tokenizer.ggml.tokens", &tokens)
        .strings::<&str>("tokenizer.ggml.merges", &[])
        .u32("tokenizer.ggml.padding_token_id", 97);
    let tokenizer = read(&writer).unwrap().tokenizer;
    assert_eq!(ids(&tokenizer, "a</s>", false), [97, EOS]);
    assert_eq!(tokenizer.decode(&[97, EOS], true).unwrap(), "a");
}

#[test]
fn what_cannot_be_read_as_words_is_refused_by_name() {
    let changes: [Change; 13] = [
        ("no key `tokenizer.ggml.model`", &|it| {
            it.remove("tokenizer.ggml.model");
        }),
        ("the tokenizer `bert`", &|it| {
            it.string("tokenizer.ggml.model", "bert");
        }),
        ("no key `tokenizer.ggml.pre`", &|it| {
            it.remove("tokenizer.ggml.pre");
        }),
        ("the pre-tokenizer `exaone`", &|it| {
            it.string("tokenizer.ggml.pre", "exaone");
        }),
        ("no key `tokenizer.ggml.tokens`", &|it| {
            it.remove("tokenizer.ggml.tokens");
        }),
        ("no list of strings", &|it| {
            it.u32("tokenizer.ggml.tokens", 1);
        }),
        ("no list of 270 numbers", &|it| {
            it.i32s("tokenizer.ggml.token_type", &[1]);
        }),
        ("no type Signed(9)", &|it| {
            it.i32s("tokenizer.ggml.token_type", &[9; 270]);
        }),
        ("is no token", &|it| {
            it.u32("tokenizer.ggml.bos_token_id", 270);
        }),
        ("no key `tokenizer.ggml.merges`", &|it| {
            it.remove("tokenizer.ggml.merges");
        }),
        ("does not merge", &|it| {
            it.strings("tokenizer.ggml.merges", &["hello hello"]);
        }),
        ("does not merge", &|it| {
            it.strings("tokenizer.ggml.merges", &["h"]);
        }),
        ("no truth value", &|it| {
            it.u32("tokenizer.ggml.add_bos_token", 1);
        }),
    ];
    for (named, change) in changes {
        let mut writer = llama();
        change(&mut writer);
        let refusal = refusal(&writer);
        assert!(refusal.contains(named), "{named}: {refusal}");
    }
    let mut writer = llama();
    writer
        .strings("tokenizer.ggml.tokens", &["a"; 270])
        .i32s("tokenizer.ggml.token_type", &[1; 270]);
    assert!(refusal(&writer).contains("tokens 0 and 1 are both \"a\""));
}
