use std::path::Path;

use super::safetensors::{INDEX, SINGLE};
use super::{Checkpoint, gguf_file};
use crate::cpu::Source;
use crate::model::ModelError;

fn file(header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn load(bytes: &[u8]) -> Result<Vec<f32>, ModelError> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(SINGLE), bytes).unwrap();
    Checkpoint::open(dir.path())?.vector("a", 2)
}

#[test]
fn each_kind_of_float_becomes_f32() {
    let header = |kind: &str, end: usize| {
        format!(
            r#"{{"__metadata__":{{"format":"pt"}},"a":{{"dtype":"{kind}","shape":[2],"data_offsets":[0,{end}]}}}}"#
        )
    };
    let f32s: Vec<u8> = [1.5_f32, -2.0]
        .into_iter()
        .flat_map(f32::to_le_bytes)
        .collect();
    assert_eq!(load(&file(&header("F32", 8), &f32s)).unwrap(), [1.5, -2.0]);
    let bf16 = [0xc0, 0x3f, 0x00, 0xc0];
    assert_eq!(load(&file(&header("BF16", 4), &bf16)).unwrap(), [1.5, -2.0]);
    let f16 = [0x00, 0x3e, 0x00, 0xc0];
    assert_eq!(load(&file(&header("F16", 4), &f16)).unwrap(), [1.5, -2.0]);
}

#[test]
fn a_damaged_file_is_an_error_that_says_how() {
    let entry = |text: &str| format!(r#"{{"a":{text}}}"#);
    let whole = entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,8]}"#);
    for (bytes, reason) in [
        (vec![], "ends early"),
        (vec![1, 2, 3], "ends early"),
        (u64::MAX.to_le_bytes().to_vec(), "claims"),
        (1000_u64.to_le_bytes().to_vec(), "ends early"),
        (file("{", b""), "header"),
        (file(&whole, &[0; 7]), "ends early"),
        (file("{}", &[]), "missing"),
        (
            file(
                &entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[8,0]}"#),
                &[0; 8],
            ),
            "before",
        ),
        (
            file(
                &entry(r#"{"dtype":"F32","shape":[2],"data_offsets":[0,4]}"#),
                &[0; 8],
            ),
            "4 bytes",
        ),
        (
            file(
                &entry(r#"{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}"#),
                &[0; 8],
            ),
            "shape",
        ),
        (
            file(
                &entry(r#"{"dtype":"I8","shape":[2],"data_offsets":[0,2]}"#),
                &[0; 2],
            ),
            "I8",
        ),
        (
            file(
                &entry(r#"{"dtype":"F32","shape":[-1],"data_offsets":[0,2]}"#),
                &[0; 2],
            ),
            "tensor `a`",
        ),
    ] {
        let error = load(&bytes).unwrap_err().to_string();
        assert!(error.contains(reason), "{reason}: {error}");
    }
}

#[test]
fn an_index_cannot_lead_out_of_its_folder() {
    let dir = tempfile::tempdir().unwrap();
    let index = r#"{"weight_map": {"a": "../a.safetensors"}}"#;
    std::fs::write(dir.path().join(INDEX), index).unwrap();
    let error = Checkpoint::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("not a file of this folder"), "{error}");
}

fn examples() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models")
}

/// A folder with one file of this header and zeros behind it.
fn folder(header: &str, data: usize) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join(SINGLE), file(header, &vec![0; data])).unwrap();
    dir
}

fn refusal(dir: &Path) -> String {
    Checkpoint::open(dir).err().unwrap().to_string()
}

#[test]
fn tensors_that_share_bytes_or_a_name_are_refused() {
    let tensor = |name: &str, start: usize| {
        let end = start + 8;
        format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":[{start},{end}]}}"#)
    };
    for (second, reason) in [
        (tensor("b", 4), "`b` overlaps the tensor `a`"),
        (tensor("b", 0), "`b` overlaps the tensor `a`"),
        (tensor("a", 8), "`a`: it stands there twice"),
    ] {
        let dir = folder(&format!("{{{},{second}}}", tensor("a", 0)), 16);
        let error = refusal(dir.path());
        assert!(error.contains(reason), "{reason}: {error}");
    }
    let whole = folder(&format!("{{{},{}}}", tensor("a", 0), tensor("b", 8)), 16);
    assert_eq!(Checkpoint::open(whole.path()).unwrap().bytes(), 16);
}

#[test]
fn both_formats_hold_the_same_tensors_by_the_same_names() {
    let plain = Checkpoint::open(&examples().join("tiny-llama")).unwrap();
    let twin = Checkpoint::open(&examples().join("tiny-llama-gguf")).unwrap();
    assert!(twin.bytes() < plain.bytes());
    let name = "model.layers.1.self_attn.q_proj.weight";
    let shape = [128, 128];
    assert_eq!(plain.source(name, &shape).unwrap(), Source::F32);
    assert_eq!(twin.source(name, &shape).unwrap(), Source::Q8_0);
    // Rows of a head lie in another order in the GGUF file.
    for rows in [0..1, 3..9, 127..128, 5..5] {
        let values = |checkpoint: &Checkpoint, source: Source| {
            let mut bytes = vec![1; 3];
            checkpoint.append(name, rows.clone(), &mut bytes).unwrap();
            let bytes = bytes.strip_prefix(&[1; 3]).unwrap();
            assert_eq!(bytes.len(), rows.len() * source.row_bytes(128).unwrap());
            let mut values = vec![0.0; rows.len() * 128];
            source.decode(bytes, &mut values);
            values
        };
        let (plain, twin) = (values(&plain, Source::F32), values(&twin, Source::Q8_0));
        for (a, b) in plain.iter().zip(&twin) {
            assert!((a - b).abs() < 0.01, "{rows:?}: {a} {b}");
        }
    }
    let norm = "model.layers.0.input_layernorm.weight";
    assert_eq!(
        plain.vector(norm, 128).unwrap(),
        twin.vector(norm, 128).unwrap()
    );
    for checkpoint in [&plain, &twin] {
        let mut bytes = Vec::new();
        for rows in [0..129, 129..129, usize::MAX - 1..usize::MAX] {
            assert!(checkpoint.append(name, rows, &mut bytes).is_err());
        }
        for (name, shape, reason) in [
            (name, &[128, 64][..], "[128, 128], not [128, 64]"),
            (name, &[128 * 128], "not [16384]"),
            ("model.layers.9.mlp.up_proj.weight", &shape, "layers.9"),
        ] {
            let error = checkpoint.source(name, shape).unwrap_err().to_string();
            assert!(error.contains(reason), "{reason}: {error}");
        }
    }
}

#[test]
fn safetensors_come_before_gguf_of_which_there_is_one() {
    let dir = tempfile::tempdir().unwrap();
    let error = refusal(dir.path());
    assert!(error.contains("has no model.safetensors"), "{error}");
    let gguf = examples().join("tiny-llama-gguf/tiny-llama-q8_0.gguf");
    std::fs::copy(&gguf, dir.path().join("b.gguf")).unwrap();
    let norm = "model.norm.weight";
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.vector(norm, 128).unwrap().len(), 128);
    std::fs::copy(&gguf, dir.path().join("a.gguf")).unwrap();
    let error = Checkpoint::open(dir.path()).err().unwrap();
    assert!(
        error
            .to_string()
            .ends_with("several GGUF files: a.gguf, b.gguf"),
        "{error}"
    );
    assert!(error.help().contains("keep one"));
    let plain = examples().join("tiny-llama").join(SINGLE);
    std::fs::copy(plain, dir.path().join(SINGLE)).unwrap();
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    let q = "model.layers.0.self_attn.q_proj.weight";
    assert_eq!(checkpoint.source(q, &[128, 128]).unwrap(), Source::F32);
    assert!(gguf_file(&examples().join("tiny-llama")).unwrap().is_none());
}
