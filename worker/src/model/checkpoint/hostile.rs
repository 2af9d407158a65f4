//! Files that lie: whatever stands in them, the end is a model or an error.

use std::path::Path;

use proptest::prelude::*;

use super::Checkpoint;
use super::safetensors::{INDEX, SINGLE};
use crate::model::ModelError;

fn example(name: &str, file: &str) -> Vec<u8> {
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models");
    std::fs::read(models.join(name).join(file)).unwrap()
}

/// Opens a folder with this file and reads all that an honest model would have in it.
fn read(file: &str, bytes: &[u8]) -> Result<(), ModelError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(file), bytes).unwrap();
    let checkpoint = Checkpoint::open(dir.path())?;
    let (embedding, norm) = ("model.embed_tokens.weight", "model.norm.weight");
    let mut row = Vec::new();
    let norm = checkpoint.vector(norm, 128);
    let shape = [768, 128];
    let row = checkpoint
        .source(embedding, &shape)
        .and_then(|_| checkpoint.append(embedding, 767..768, &mut row));
    norm.and(row)
}

/// A header of safetensors with its data behind it.
fn with_header(header: &[u8], data: &[u8]) -> Vec<u8> {
    let length = header.len() as u64;
    [&length.to_le_bytes(), header, data].concat()
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..5000_u64,
        Just(u64::MAX),
        Just(u64::MAX / 2 + 1),
        Just(u64::from(u32::MAX)),
        any::<u64>(),
    ]
}

/// Texts of an index or a header: right words, in wrong places too.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let word = prop_oneof![
        Just("model.norm.weight"),
        Just("model.embed_tokens.weight"),
        Just("__metadata__"),
        Just("weight_map"),
        Just("dtype"),
        Just("shape"),
        Just("data_offsets"),
        Just("F32"),
        Just("I4"),
        Just(".."),
        Just("../model.safetensors"),
        Just("/dev/zero"),
        Just(INDEX),
        Just(""),
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        number().prop_map(Into::into),
        (-3.0..3.0).prop_map(|number: f64| number.into()),
        word.clone().prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let object = prop::collection::hash_map(word.clone(), inner.clone(), 0..4);
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Into::into),
            object.prop_map(|map| {
                let map = map.into_iter().map(|(key, value)| (key.to_owned(), value));
                serde_json::Value::Object(map.collect())
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_bytes_of_a_header_end_in_a_model_or_an_error(
        changes in prop::collection::vec((0..2000_usize, any::<u8>()), 1..12),
        cut in prop::option::of(0..4000_usize),
    ) {
        let mut bytes = example("tiny-llama", SINGLE);
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut.unwrap_or(bytes.len()));
        let _ = read(SINGLE, &bytes);
    }

    #[test]
    fn entries_of_any_shape_and_place_end_in_a_model_or_an_error(
        shape in prop::collection::vec(number(), 0..4),
        start in number(),
        end in number(),
        data in 0..5000_usize,
    ) {
        let entry = serde_json::json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        let header = serde_json::json!({"model.norm.weight": entry, "model.embed_tokens.weight": entry});
        let bytes = with_header(header.to_string().as_bytes(), &vec![0; data]);
        // Two tensors in one place are never right.
        prop_assert!(read(SINGLE, &bytes).is_err());
    }

    #[test]
    fn headers_and_indexes_of_any_words_end_in_an_error(json in json()) {
        let text = json.to_string();
        prop_assert!(read(SINGLE, &with_header(text.as_bytes(), &[0; 64])).is_err());
        prop_assert!(read(INDEX, text.as_bytes()).is_err());
        let index = serde_json::json!({"weight_map": json}).to_string();
        prop_assert!(read(INDEX, index.as_bytes()).is_err());
    }

    #[test]
    fn lengths_of_headers_are_never_believed(length in any::<u64>(), rest in 0..64_usize) {
        let bytes = [&length.to_le_bytes()[..], &vec![b'{'; rest]].concat();
        prop_assert!(read(SINGLE, &bytes).is_err());
    }
}

#[test]
fn the_honest_file_is_read() {
    read(SINGLE, &example("tiny-llama", SINGLE)).unwrap();
}
