use std::fs;
use std::path::Path;

use pool_core::model::ModelFacts;
use proptest::prelude::*;

use super::model::model;
use super::on_disk;
use super::writer::{Entry, Writer, array, f32s, string};
use crate::gguf::{Architecture, Checkpoint, Error, File, Kind};

fn refusal(bytes: &[u8]) -> Error {
    let (_dir, path) = on_disk(bytes);
    let error = File::open(&path).err().expect("the file was taken");
    assert!(error.to_string().contains("model.gguf"), "{error}");
    error
}

fn head(version: u32, tensors: u64, values: u64) -> Vec<u8> {
    let counts = [tensors.to_le_bytes(), values.to_le_bytes()].concat();
    [b"GGUF", &version.to_le_bytes()[..], &counts].concat()
}

fn with_value(kind: u32, bytes: &[u8]) -> Vec<u8> {
    Writer::new().raw("key", kind, bytes).bytes()
}

#[test]
fn a_damaged_head_is_an_error_that_says_where() {
    let huge = u64::MAX.to_le_bytes();
    let deep = (0..9).fold(array(0, 1, &[1]), |inner, _| array(9, 1, &inner));
    let too_long = [&huge[..], b"x"].concat();
    for (bytes, place, reason) in [
        (vec![], "header", "ends after 0"),
        (b"GGU".to_vec(), "header", "ends after 3"),
        (b"GGML\x03\0\0\0".to_vec(), "header", "begin with `GGUF`"),
        (b"GGUF".to_vec(), "header", "ends after 4"),
        (head(3, u64::MAX, 0), "header", "ends after 24"),
        (head(3, 0, u64::MAX), "header", "ends after 24"),
        (head(3, 0, 1 << 61), "header", "ends after 24"),
        (head(3, 1, 0), "header", "ends after 24"),
        (with_value(13, &[0; 8]), "key `key`", "no type of values 13"),
        (with_value(7, &[2]), "key `key`", "neither 0 nor 1"),
        (with_value(8, &huge), "key `key`", "ends after"),
        (with_value(8, &too_long), "key `key`", "ends after"),
        (
            with_value(8, b"\x02\0\0\0\0\0\0\0a\xff"),
            "key `key`",
            "not UTF-8",
        ),
        (
            with_value(9, &array(10, usize::MAX, &[])),
            "key `key`",
            "ends after",
        ),
        (
            with_value(9, &array(8, 1 << 60, &[])),
            "key `key`",
            "ends after",
        ),
        (
            with_value(9, &array(9, 1 << 60, &[])),
            "key `key`",
            "ends after",
        ),
        (
            with_value(9, &array(7, 1, &[7])),
            "key `key`",
            "neither 0 nor 1",
        ),
        (
            with_value(9, &array(99, 1, &[7])),
            "key `key`",
            "no type of values 99",
        ),
        (with_value(9, &deep), "key `key`", "deep"),
    ] {
        let error = refusal(&bytes);
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(place) && text.contains(reason),
            "{place}, {reason}: {text}"
        );
    }
}

#[test]
fn a_key_and_a_tensor_stand_there_once() {
    let mut writer = Writer::new();
    writer.u32("key", 1);
    let again = writer.values[0].clone();
    writer.values.push(again);
    assert!(
        refusal(&writer.bytes())
            .to_string()
            .contains("`key` at byte")
    );
    let mut writer = Writer::new();
    let data = f32s(&[1.0]);
    writer
        .tensor("w", &[1], Kind::F32, &data)
        .tensor("w", &[1], Kind::F32, &data);
    assert!(refusal(&writer.bytes()).to_string().contains("twice"));
}

#[test]
fn an_alignment_is_a_power_of_two() {
    for alignment in [0, 3, 48, u32::MAX] {
        let error = refusal(&Writer::new().u32("general.alignment", alignment).bytes());
        assert!(error.to_string().contains("no power of two"), "{error}");
    }
    let error = refusal(&Writer::new().f32("general.alignment", 32.0).bytes());
    assert!(error.to_string().contains("general.alignment"), "{error}");
    let mut writer = Writer::new();
    writer.raw("general.alignment", 10, &(1_u64 << 63).to_le_bytes());
    writer.tensor("w", &[1], Kind::F32, &f32s(&[1.0]));
    let error = refusal(&writer.bytes());
    assert!(error.to_string().contains("before the weights"), "{error}");
}

#[test]
fn a_tensor_lies_in_the_file_and_on_no_other() {
    let large = 1 << 40;
    for (shape, kind, offset, reason) in [
        (&[][..], 0, None, "0 dimensions"),
        (&[1, 1, 1, 1, 1], 0, None, "5 dimensions"),
        (&[0], 0, None, "nothing that a file"),
        (&[4, 0], 0, None, "nothing that a file"),
        (&[u64::MAX], 0, None, "nothing that a file"),
        (&[large, large], 0, None, "nothing that a file"),
        (
            &[large, large, large, large],
            8,
            None,
            "nothing that a file",
        ),
        (&[2, 33], 8, None, "nothing that a file"),
        (&[1000], 0, None, "nothing that a file"),
        (&[4], 0, Some(1), "multiple of 32"),
        (&[4], 0, Some(64), "ends after"),
        (&[4], 0, Some(u64::MAX - 31), "ends after"),
        (&[4], 0, Some(0), "overlaps"),
        (&[9], 0, None, "ends after"),
    ] {
        let mut writer = Writer::new();
        writer.tensor("first", &[4], Kind::F32, &f32s(&[0.0; 4]));
        writer.tensors.push(Entry {
            name: "second".to_owned(),
            shape: shape.to_vec(),
            kind,
            offset,
            data: f32s(&[0.0; 4]),
        });
        let text = refusal(&writer.bytes()).to_string();
        assert!(text.contains(reason), "{reason}: {text}");
        assert!(text.contains("second") || text.contains("first"), "{text}");
    }
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    for (id, name) in [
        (3, "`Q4_1`"),
        (6, "`Q5_0`"),
        (10, "`Q2_K`"),
        (39, "`MXFP4`"),
        (77, "number 77"),
    ] {
        let mut writer = Writer::new();
        writer.tensor("w", &[256], Kind::F32, &[0; 1024]).tensors[0].kind = id;
        let error = refusal(&writer.bytes());
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(name) && text.contains("`w`") && text.contains("Q6_K"),
            "{text}"
        );
    }
    for (version, named) in [(1, "version 1"), (4, "version 4"), (3 << 24, "big-endian")] {
        let error = refusal(&head(version, 0, 0));
        assert!(error.to_string().contains(named), "{error}");
    }
    let mut writer = Writer::new();
    writer.raw("split.count", 2, &3_u16.to_le_bytes());
    let error = refusal(&writer.bytes());
    assert!(error.to_string().contains("split in 3"), "{error}");
    writer.raw("split.count", 2, &1_u16.to_le_bytes());
    let (_dir, path) = on_disk(&writer.bytes());
    assert!(File::open(&path).is_ok());
}

#[test]
fn an_absent_file_and_a_folder_are_unreadable() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("model.gguf"), dir.path().to_owned()] {
        let error = File::open(&path).err().unwrap();
        assert!(matches!(error, Error::Unreadable { .. }), "{error}");
    }
}

/// Uses all that a file offers. Whatever it says, each answer is bounded by the file.
fn use_up(bytes: &[u8]) -> Result<(), Error> {
    let (_dir, path) = on_disk(bytes);
    use_up_file(&path, bytes.len())
}

fn use_up_file(path: &Path, size: usize) -> Result<(), Error> {
    // Read alone, since it may be good where the rest of the file is not.
    let facts = facts(path);
    let file = File::open(path)?;
    let total: usize = file
        .tensors()
        .values()
        .map(crate::gguf::Tensor::bytes)
        .sum();
    assert!(total <= size);
    for (name, tensor) in file.tensors() {
        let values = file.rows(name, 0..tensor.rows())?;
        assert!(values.len() <= 2 * size);
    }
    let checkpoint = Checkpoint::open(path)?;
    if let Ok(facts) = facts {
        let config = checkpoint.config();
        assert_eq!(config["model_type"], facts.architecture);
        assert_eq!(config["max_position_embeddings"], facts.context_length);
    }
    for (name, weight) in checkpoint.weights() {
        checkpoint.rows(name, 0..weight.tensor.rows())?;
        checkpoint.rows(name, weight.tensor.rows() - 1..weight.tensor.rows())?;
    }
    let text = checkpoint.text()?;
    let encoding = text.tokenizer.encode("Hello 12 wörld", true);
    if let Ok(encoding) = encoding {
        // An id may have no word, but asking for it is no fault.
        let _ = text.tokenizer.decode(encoding.get_ids(), false);
    }
    Ok(())
}

fn facts(path: &Path) -> Result<ModelFacts, Error> {
    let size = fs::metadata(path).unwrap().len();
    ModelFacts::from_gguf(path, size, fs::File::open(path).unwrap())
}

#[test]
fn what_a_pool_is_told_of_a_file_is_what_the_worker_makes_of_it() {
    for architecture in [Architecture::Llama, Architecture::Qwen2, Architecture::Phi3] {
        let mut writer = model(architecture);
        for window in [None, Some(0), Some(40)] {
            let key = format!("{}.attention.sliding_window", architecture.name());
            if let Some(window) = window {
                writer.u32(&key, window);
            }
            let (_dir, path) = on_disk(&writer.bytes());
            let checkpoint = Checkpoint::open(&path).unwrap();
            let (config, facts) = (checkpoint.config(), facts(&path).unwrap());
            assert_eq!(config["model_type"], facts.architecture);
            assert_eq!(config["vocab_size"], facts.vocab_size);
            assert_eq!(config["max_position_embeddings"], facts.context_length);
        }
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = model(Architecture::Llama).bytes();
    use_up(&bytes).unwrap();
    let head = bytes
        .windows(11)
        .position(|window| window == b"output_norm")
        .unwrap()
        + 100;
    // What is behind the last tensor is padding.
    let data = bytes.len() - 32;
    let (_dir, path) = on_disk(&bytes);
    let file = fs::File::options().write(true).open(&path).unwrap();
    for end in (0..head).chain((head..data).step_by(61)).rev() {
        file.set_len(end as u64).unwrap();
        assert!(use_up_file(&path, end).is_err(), "cut after {end}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_file_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = use_up(&bytes);
        let _ = use_up(&[&head(3, 1, 1)[..], &bytes].concat());
    }

    #[test]
    fn no_change_to_a_file_makes_the_reader_panic(
        which in 0..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), interesting()), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let architecture = [Architecture::Llama, Architecture::Qwen2, Architecture::Phi3][which as usize];
        let mut bytes = model(architecture).bytes();
        // The weights are the larger part of the file, and any weight is as good as another.
        let head = bytes.len() / 3;
        for (at, change) in changes {
            let at = at.index(head);
            for (byte, change) in bytes[at..].iter_mut().zip(change) {
                *byte = change;
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let _ = use_up(&bytes);
    }
}

/// One byte, or a whole number of the kind that lengths and offsets are.
fn interesting() -> impl Strategy<Value = Vec<u8>> {
    let numbers = [
        0,
        1,
        2,
        31,
        32,
        255,
        1 << 31,
        1 << 32,
        1 << 62,
        1 << 63,
        u64::MAX,
    ];
    prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(numbers.to_vec()).prop_map(|number| number.to_le_bytes().to_vec()),
        (0..14_u32).prop_map(|kind| kind.to_le_bytes().to_vec()),
        Just(string("blk.0.attn_q.weight")),
    ]
}
