use std::cell::Cell;
use std::io::{self, Read};
use std::path::Path;

use proptest::prelude::*;

use super::{Error, LONGEST_HEAD};
use crate::fit::Shape;
use crate::model::{Format, ModelFacts};

const U32: u32 = 4;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn example() -> Vec<u8> {
    let path = "../examples/models/tiny-llama-gguf/tiny-llama-q8_0.gguf";
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Bytes of the example before its weights: the end of the last line of the table.
const HEAD: usize = 21_919;

fn facts(bytes: &[u8]) -> Result<ModelFacts, Error> {
    ModelFacts::from_gguf(Path::new("m.gguf"), bytes.len() as u64, bytes)
}

fn refusal(bytes: &[u8]) -> String {
    let error = facts(bytes).unwrap_err();
    assert!(!matches!(error, Error::Unreadable { .. }), "{error}");
    error.to_string()
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn number(value: u32) -> (u32, Vec<u8>) {
    (U32, value.to_le_bytes().to_vec())
}

fn text(text: &str) -> (u32, Vec<u8>) {
    (STRING, string(text))
}

fn strings(texts: &[&str]) -> (u32, Vec<u8>) {
    let mut bytes = STRING.to_le_bytes().to_vec();
    bytes.extend((texts.len() as u64).to_le_bytes());
    bytes.extend(texts.iter().flat_map(|text| string(text)));
    (ARRAY, bytes)
}

/// A file without tensors.
fn file(values: &[(&str, (u32, Vec<u8>))]) -> Vec<u8> {
    let mut bytes = [&b"GGUF"[..], &3_u32.to_le_bytes(), &[0; 8]].concat();
    bytes.extend((values.len() as u64).to_le_bytes());
    for (key, (kind, value)) in values {
        bytes.extend(string(key));
        bytes.extend(kind.to_le_bytes());
        bytes.extend(value);
    }
    bytes
}

/// Counts what is read of it.
struct Counted<'a, R> {
    source: R,
    read: &'a Cell<u64>,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.read.set(self.read.get() + count as u64);
        Ok(count)
    }
}

#[test]
fn the_facts_are_those_of_the_head_and_the_weights_are_not_read() {
    let bytes = example();
    let read = Cell::new(0);
    let source = Counted {
        source: &bytes[..],
        read: &read,
    };
    let facts = ModelFacts::from_gguf(Path::new("m.gguf"), bytes.len() as u64, source);
    let expected = ModelFacts {
        format: Format::Gguf,
        architecture: "llama".to_owned(),
        context_length: 512,
        vocab_size: 768,
        quantization: Some("q8_0".to_owned()),
        shape: Some(Shape {
            layers: 3,
            hidden: 128,
            intermediate: 256,
            heads: 4,
            kv_heads: 2,
            head_dim: 32,
            vocab: 768,
            tied: false,
            biases: 0,
            context: 512,
            // 638,976 weights of 34 bytes for each 32, and 896 of 4.
            as_stored: Some(682_496),
            // All but two matrices of 768 rows of 128.
            matrices_as_stored: Some((638_976 - 2 * 768 * 128) / 32 * 34),
            is_f32: false,
        }),
    };
    assert_eq!(facts.unwrap(), expected);
    assert!(read.get() < HEAD as u64 + (16 << 10), "{}", read.get());
}

#[test]
fn a_file_that_ends_before_its_weights_is_refused() {
    let bytes = example();
    facts(&bytes[..HEAD]).unwrap();
    for end in (0..400).chain((400..HEAD).step_by(53)).chain([HEAD - 1]) {
        let error = refusal(&bytes[..end]);
        let reason = format!("the file ends after {end}");
        assert!(error.contains(&reason), "cut after {end}: {error}");
    }
}

#[test]
fn a_source_that_ends_before_its_size_is_unreadable() {
    let ends_in_a_list = file(&[("tokenizer.ggml.tokens", strings(&["a", "bc"]))]);
    let whole = example();
    let cuts = [0, 3, 100, 5_000, HEAD - 1].map(|end| (&whole, end));
    for (bytes, end) in cuts
        .into_iter()
        .chain([(&ends_in_a_list, ends_in_a_list.len() - 1)])
    {
        let size = bytes.len() as u64;
        let error = ModelFacts::from_gguf(Path::new("m.gguf"), size, &bytes[..end]).unwrap_err();
        let Error::Unreadable { source, .. } = &error else {
            panic!("cut after {end}: {error}")
        };
        assert_eq!(
            source.kind(),
            io::ErrorKind::UnexpectedEof,
            "cut after {end}"
        );
    }
}

#[test]
fn what_a_list_holds_is_passed_over() {
    let mut words = strings(&["a"]);
    *words.1.last_mut().unwrap() = 0xff;
    let said = facts(&file(&[
        ("general.architecture", text("llama")),
        ("llama.context_length", number(8)),
        ("tokenizer.ggml.tokens", words),
    ]));
    assert_eq!(said.unwrap().vocab_size, 1);
}

#[test]
fn no_more_is_read_than_the_longest_head() {
    for (kind, start) in [(STRING, vec![]), (ARRAY, [0_u32.to_le_bytes()].concat())] {
        let long = [start, (1_u64 << 32).to_le_bytes().to_vec()].concat();
        let head = file(&[("general.name", (kind, long))]);
        let read = Cell::new(0);
        let source = Counted {
            source: head.chain(io::repeat(b'x')),
            read: &read,
        };
        let error = ModelFacts::from_gguf(Path::new("m.gguf"), 1 << 40, source).unwrap_err();
        let reason = format!("longer than {LONGEST_HEAD} bytes");
        assert!(error.to_string().contains(&reason), "{error}");
        assert!(read.get() < 1 << 20);
    }
}

#[test]
fn the_vocabulary_is_the_one_that_is_said_else_the_tokens() {
    let mut values = vec![
        ("general.architecture", text("qwen2")),
        ("qwen2.context_length", number(32_768)),
        ("tokenizer.ggml.tokens", strings(&["a", "é", ""])),
    ];
    let said = facts(&file(&values)).unwrap();
    assert_eq!((said.vocab_size, said.context_length), (3, 32_768));
    assert_eq!(
        (said.architecture.as_str(), said.quantization),
        ("qwen2", None)
    );
    values.push(("qwen2.vocab_size", number(4)));
    values.push(("qwen2.attention.sliding_window", number(9)));
    for (kind, name) in [
        (1, None),
        (15, Some("q4_k_m")),
        (18, Some("q6_k")),
        (99, None),
    ] {
        let mut values = values.clone();
        values.push(("general.file_type", number(kind)));
        let said = facts(&file(&values)).unwrap();
        assert_eq!((said.vocab_size, said.quantization.as_deref()), (4, name));
        assert_eq!(said.architecture, "qwen2");
    }
    let mistral = file(&[
        ("general.architecture", text("llama")),
        ("llama.attention.sliding_window", number(4096)),
        ("llama.context_length", number(32_768)),
        ("llama.vocab_size", number(32_000)),
    ]);
    assert_eq!(facts(&mistral).unwrap().architecture, "mistral");
}

#[test]
fn what_a_head_does_not_say_is_named() {
    let architecture = ("general.architecture", text("llama"));
    let tokens = ("tokenizer.ggml.tokens", strings(&["a"]));
    let context = |value| ("llama.context_length", value);
    let wide = (10, (1_u64 << 32).to_le_bytes().to_vec());
    for (values, reason) in [
        (vec![], "m.gguf has no key `general.architecture`"),
        (vec![("general.architecture", number(1))], "it is no text"),
        (vec![architecture.clone()], "no key `tokenizer.ggml.tokens`"),
        (
            vec![architecture.clone(), ("tokenizer.ggml.tokens", number(1))],
            "it is no list",
        ),
        (
            vec![architecture.clone(), tokens.clone()],
            "no key `llama.context_length`",
        ),
        (
            vec![architecture.clone(), tokens.clone(), context(wide)],
            "`llama.context_length`: it is no whole number",
        ),
        (vec![tokens.clone(), tokens.clone()], "twice"),
        (
            vec![("split.count", number(3))],
            "split in 3, which is not supported",
        ),
    ] {
        let error = refusal(&file(&values));
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn a_list_that_is_passed_over_is_held_against_the_file() {
    let list = |kind: u32, count: u64, elements: &[u8]| {
        [&kind.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
    };
    let deep = (0..9).fold(list(0, 1, &[1]), |inner, _| list(ARRAY, 1, &inner));
    for (value, reason) in [
        (list(0, u64::MAX, &[]), "ends after"),
        (list(STRING, 1 << 60, &[]), "ends after"),
        (list(STRING, 1, &u64::MAX.to_le_bytes()), "ends after"),
        (list(ARRAY, 1 << 60, &[]), "ends after"),
        (list(13, 0, &[]), "no type of values 13"),
        (deep, "more than 4 deep"),
    ] {
        let error = refusal(&file(&[("key", (ARRAY, value))]));
        assert!(error.contains("the key `key`"), "{error}");
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_change_to_a_head_makes_the_reader_panic_or_wait(
        changes in prop::collection::vec((0..HEAD, interesting()), 1..6),
        cut in prop::option::weighted(0.2, 0..HEAD),
    ) {
        let mut bytes = example()[..cut.unwrap_or(HEAD)].to_vec();
        for (at, change) in changes {
            for (byte, change) in bytes.iter_mut().skip(at).zip(change) {
                *byte = change;
            }
        }
        // The source has all that the size says, so what is wrong is wrong with the file.
        if let Err(error) = facts(&bytes) {
            prop_assert!(!matches!(error, Error::Unreadable { .. }), "{}", error);
        }
    }
}

/// One byte, or a whole number of the kind that lengths and counts are.
fn interesting() -> impl Strategy<Value = Vec<u8>> {
    let numbers = vec![0, 1, 31, 1 << 31, 1 << 32, 1 << 62, 1 << 63, u64::MAX];
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(numbers).prop_map(|number: u64| number.to_le_bytes().to_vec()),
        (0..14_u32).prop_map(|kind| kind.to_le_bytes().to_vec()),
    ]
}
