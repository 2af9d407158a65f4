use pool_core::digest::Sha256;
use pool_core::fit::Shape;
use pool_core::model::Format;
use proptest::prelude::*;

use super::*;

const COMMIT: &str = "7ae557604adf67be50417f59c2c2f167def9a775";

fn file(path: &str, text: &str) -> ModelFile {
    ModelFile {
        path: path.parse().unwrap(),
        size: text.len() as u64,
        sha256: Sha256::of(text),
    }
}

fn facts(format: Format, quantization: Option<&str>) -> ModelFacts {
    ModelFacts {
        format,
        architecture: "qwen2".into(),
        context_length: 32768,
        vocab_size: 151_936,
        quantization: quantization.map(str::to_owned),
        shape: None,
    }
}

fn two() -> Lock {
    let whole = Locked {
        source: "hf:Qwen/Qwen2.5-0.5B-Instruct".parse().unwrap(),
        commit: COMMIT.into(),
        facts: facts(Format::Safetensors, None),
        files: vec![
            file("config.json", "{}"),
            file("model.safetensors", "weights"),
            file("tokenizer.json", "{\"t\":1}"),
        ],
    };
    let one = Locked {
        source: "hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF@main::q8.gguf"
            .parse()
            .unwrap(),
        facts: facts(Format::Gguf, Some("q8_0")),
        files: vec![file("q8.gguf", "gguf")],
        ..whole.clone()
    };
    let models = [("qwen-0.5b", whole), ("qwen-gguf", one)];
    let models = models.map(|(id, locked)| (id.parse().unwrap(), locked));
    Lock {
        models: models.into(),
    }
}

#[test]
fn every_file_has_a_line() {
    insta::assert_snapshot!(two());
    insta::assert_snapshot!(Lock::default(), @r#"
    {
      "version": 1,
      "models": {}
    }
    "#);
}

#[test]
fn a_bad_lock_says_where_and_of_which_model() {
    let good = two().to_string();
    let cases = [
        (
            good.replace(COMMIT, "main"),
            "model `qwen-0.5b`: its commit is not 40 hexadecimal digits",
            4,
        ),
        (
            good.replace("\"config.json\"", "\"x.json\""),
            "model `qwen-0.5b`: its files are not in order, each once",
            4,
        ),
        (
            good.replace("\"config.json\"", "\"../x\""),
            "model `qwen-0.5b`: \"../x\" is not a path inside a model",
            12,
        ),
        (
            good.replace("\"size\": 4", "\"size\": -4"),
            "model `qwen-gguf`: invalid value: integer `-4`",
            26,
        ),
        (
            good.replace("\"vocab_size\": 151936", "\"vocab_size\": []"),
            "model `qwen-0.5b`: invalid type: sequence",
            16,
        ),
        (
            good.replace("\"architecture\"", "\"arch\""),
            "model `qwen-0.5b`: missing field `architecture`",
            16,
        ),
        (
            good.replace("\"commit\"", "\"x\": 1, \"commit\""),
            "model `qwen-0.5b`: unknown field `x`",
            16,
        ),
        (
            good.replace("hf:Qwen/Qwen2.5-0.5B-Instruct\"", "./here\""),
            "model `qwen-0.5b`: its source is not one of the hub",
            4,
        ),
        (
            good.replace("qwen-gguf", "qwen-0.5b"),
            "model `qwen-0.5b`: it is there twice",
            17,
        ),
        (
            good.replace("qwen-gguf", "qwen gguf"),
            "cannot hold ' '",
            17,
        ),
        (format!("<<<<<<< HEAD\n{good}"), "expected value", 1),
        (
            good.replace("\"size\": 2,", "\"size\": 18446744073709551615,"),
            "model `qwen-0.5b`: it is larger than any disk",
            4,
        ),
        (String::new(), "EOF while parsing a value", 1),
    ];
    for (bad, said, at) in cases {
        assert_ne!(bad, good);
        let Err(LockError::Text { line, message, .. }) = Lock::parse(&bad) else {
            panic!("{said}: {:?}", Lock::parse(&bad));
        };
        assert!(message.contains(said), "{message:?} does not say {said:?}");
        assert!(!message.contains("at line"), "{message}");
        assert_eq!(line, at, "{message}");
    }
}

#[test]
fn a_lock_from_before_models_had_shapes_reads() {
    let text = two().to_string();
    assert!(!text.contains("shape"));
    assert_eq!(Lock::parse(&text).unwrap(), two());
}

#[test]
fn a_lock_of_another_version_is_refused_whatever_it_holds() {
    let newer = r#"{ "version": 2, "models": [] }"#;
    assert_eq!(Lock::parse(newer), Err(LockError::Version(2)));
    let text = LockError::Version(2).to_string();
    assert_eq!(text, "it has version 2, and this rbee reads version 1");
}

#[test]
fn another_source_in_the_fleet_asks_for_another_look() {
    let lock = two();
    let model = "qwen-0.5b".parse().unwrap();
    let get = |source: &str| lock.get(&model, &source.parse().unwrap()).is_some();
    assert!(get("hf:Qwen/Qwen2.5-0.5B-Instruct"));
    assert!(!get("hf:Qwen/Qwen2.5-0.5B-Instruct@main"));
    assert!(!get("hf:Qwen/Other"));
}

#[test]
fn a_file_that_changed_or_went_under_the_same_commit_is_found() {
    let lock = two();
    let locked = &lock.models[&"qwen-0.5b".parse().unwrap()];
    assert_eq!(locked.rewritten(&locked.manifest()), []);
    let mut found = locked.manifest();
    found.files.push(file("more.json", "{}"));
    assert_eq!(locked.rewritten(&found), []);
    let now = file("model.safetensors", "others!");
    found.files[1] = now.clone();
    found.files.remove(2);
    let rewritten = locked.rewritten(&found);
    let rewritten: Vec<_> = rewritten
        .iter()
        .map(|file| (file.path.as_str(), file.now.as_ref()))
        .collect();
    assert_eq!(
        rewritten,
        [("model.safetensors", Some(&now)), ("tokenizer.json", None)]
    );
    assert_eq!(
        locked.pinned().to_string(),
        format!("hf:Qwen/Qwen2.5-0.5B-Instruct@{COMMIT}")
    );
}

prop_compose! {
    fn any_file()(path in "[a-z\"é]{1,8}(/[a-z ]{1,4}){0,2}", size in 0..1_u64 << 44, content in any::<u32>()) -> ModelFile {
        ModelFile { path: path.parse().unwrap(), size, sha256: Sha256::of(content.to_le_bytes()) }
    }
}

prop_compose! {
    fn any_locked()(
        source in "hf:[a-z]{1,4}/[A-Z0-9.]{0,4}[a-z](@[a-z]{1,3})?(::[a-z]{1,4})?",
        commit in "[0-9a-f]{40}",
        is_gguf in any::<bool>(),
        architecture in "\\PC{0,12}",
        numbers in any::<(u32, u32)>(),
        quantization in proptest::option::of("[a-z0-9_]{0,6}"),
        shape in proptest::option::of(any_shape()),
        files in proptest::collection::vec(any_file(), 1..6),
    ) -> Locked {
        let facts = ModelFacts {
            format: if is_gguf { Format::Gguf } else { Format::Safetensors },
            architecture,
            context_length: numbers.0,
            vocab_size: numbers.1,
            quantization,
            shape,
        };
        let mut manifest = Manifest::new(files, facts);
        manifest.files.dedup_by(|a, b| a.path == b.path);
        Locked::new(source.parse().unwrap(), Resolved { commit, manifest }).unwrap()
    }
}

fn any_shape() -> impl Strategy<Value = Shape> {
    let numbers = (any::<[u32; 8]>(), any::<bool>(), any::<Option<u64>>());
    numbers.prop_map(|(numbers, tied, as_stored)| Shape {
        layers: numbers[0],
        hidden: numbers[1],
        intermediate: numbers[2],
        heads: numbers[3],
        kv_heads: numbers[4],
        head_dim: numbers[5],
        vocab: numbers[6],
        tied,
        biases: numbers[7],
        context: 512,
        as_stored,
        matrices_as_stored: as_stored,
        is_f32: tied,
    })
}

proptest! {
    #[test]
    fn a_lock_reads_back_as_it_was_written(
        models in proptest::collection::btree_map("[a-z][a-z0-9]{0,6}", any_locked(), 0..4),
    ) {
        let models = models.into_iter().map(|(id, locked)| (id.parse().unwrap(), locked));
        let lock = Lock { models: models.collect() };
        let text = lock.to_string();
        prop_assert_eq!(Lock::parse(&text), Ok(lock.clone()));
        let files: usize = lock.models.values().map(|locked| locked.files.len()).sum();
        prop_assert_eq!(text.lines().filter(|line| line.contains("\"sha256\"")).count(), files);
    }
}
