//! Workers that cannot start say why and what to do, and exit with 1. Those that can, can.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::json;

use crate::support::{Binary, Folder, Server, ask, launch, read_json, tiny};
use worker::server::Settings;

/// What a worker for this folder says when it fails.
fn failure(model_dir: &Path, args: &[&str]) -> String {
    error_and_help(model_dir, args).0
}

fn error_and_help(model_dir: &Path, args: &[&str]) -> (String, String) {
    let mut all = vec!["--model-dir", model_dir.to_str().unwrap(), "--model", "m"];
    if !args.contains(&"--listen") {
        all.extend(["--listen", "127.0.0.1:0"]);
    }
    all.extend(args);
    let (code, log) = Binary::spawn(&all).ended();
    assert_eq!(code, Some(1), "{log}");
    let (_, said) = log
        .split_once("error: ")
        .unwrap_or_else(|| panic!("no error: in {log}"));
    let (error, help) = said
        .split_once("\nhelp: ")
        .unwrap_or_else(|| panic!("no help: in {log}"));
    assert!(!help.trim().is_empty());
    (error.to_owned(), help.to_owned())
}

fn says(error: &str, words: &[&str]) {
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn a_missing_file_is_named() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = Folder::copy();
        std::fs::remove_file(folder.file(file)).unwrap();
        says(
            &failure(folder.path(), &[]),
            &[file, folder.path().to_str().unwrap()],
        );
    }
    says(
        &failure(Path::new("/no/such/folder"), &[]),
        &["/no/such/folder", "config.json"],
    );
}

#[test]
fn an_unsupported_family_is_named_with_what_is_supported() {
    let folder = Folder::copy();
    folder.edit("config.json", |config| {
        config["model_type"] = json!("mamba");
    });
    says(
        &failure(folder.path(), &[]),
        &["`mamba`", "supported: llama"],
    );
}

#[test]
fn a_damaged_file_is_named() {
    let folder = Folder::copy();
    for (file, text) in [
        ("config.json", "{"),
        ("tokenizer.json", "{}"),
        ("generation_config.json", "["),
    ] {
        let whole = std::fs::read(folder.file(file)).unwrap();
        std::fs::write(folder.file(file), text).unwrap();
        says(&failure(folder.path(), &[]), &[file, "damaged"]);
        std::fs::write(folder.file(file), whole).unwrap();
    }
    let weights = std::fs::read(folder.file("model.safetensors")).unwrap();
    std::fs::write(
        folder.file("model.safetensors"),
        &weights[..weights.len() - 1],
    )
    .unwrap();
    says(
        &failure(folder.path(), &[]),
        &["model.safetensors", "ends early"],
    );
}

/// It is tried out before anybody asks.
#[test]
fn a_tokenizer_that_fails_at_any_text_is_refused() {
    let folder = Folder::copy();
    let whole = read_json(folder.file("tokenizer.json"));
    let template = |single: serde_json::Value, ids: serde_json::Value| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {"<s>": {"id": "<s>", "ids": ids, "tokens": ["<s>"]}}})
    };
    let start = json!([{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]);
    let strip = json!({"type": "Strip", "content": "A", "start": 50, "stop": 50});
    for (part, value) in [
        ("post_processor", template(start, json!([999_999]))),
        (
            "normalizer",
            json!({"type": "Replace", "pattern": {"String": ""}, "content": "x"}),
        ),
        ("decoder", strip),
    ] {
        let mut tokenizer = whole.clone();
        tokenizer[part] = value;
        std::fs::write(folder.file("tokenizer.json"), tokenizer.to_string()).unwrap();
        says(
            &failure(folder.path(), &[]),
            &["tokenizer.json", "cannot read and write"],
        );
    }
}

#[test]
fn weights_of_another_shape_than_the_config_says_are_refused() {
    let folder = Folder::copy();
    folder.edit("config.json", |config| {
        config["num_hidden_layers"] = json!(4);
    });
    says(
        &failure(folder.path(), &[]),
        &["model.layers.3.", "missing"],
    );
    folder.edit("config.json", |config| {
        config["num_hidden_layers"] = json!(16_000_000);
    });
    says(
        &failure(folder.path(), &[]),
        &["num_hidden_layers", "16000000"],
    );
    let folder = Folder::copy();
    folder.edit("config.json", |config| {
        config["intermediate_size"] = json!(255);
    });
    says(
        &failure(folder.path(), &[]),
        &["gate_proj", "[256, 128]", "[255, 128]"],
    );
    let folder = Folder::copy();
    folder.edit("config.json", |config| {
        config["vocab_size"] = json!(700);
    });
    says(
        &failure(folder.path(), &[]),
        &["tokenizer.json", "767", "700"],
    );
}

#[test]
fn a_device_that_is_not_there_is_an_error() {
    for device in ["cuda:0", "metal:0"] {
        says(
            &failure(&tiny(), &["--device", device]),
            &[device, "not there"],
        );
    }
}

#[test]
fn more_context_than_the_model_has_is_refused() {
    says(&failure(&tiny(), &["--context", "513"]), &["513", "512"]);
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    says(
        &failure(&tiny(), &["--listen", &address]),
        &[&address, "in use"],
    );
}

#[test]
fn an_address_that_others_reach_is_refused() {
    says(
        &failure(&tiny(), &["--listen", "0.0.0.0:0"]),
        &["0.0.0.0:0", "loopback"],
    );
}

#[test]
fn usage_help_and_version_have_their_own_exit_codes() {
    assert_eq!(Binary::spawn(&["--frobnicate"]).ended().0, Some(64));
    assert_eq!(Binary::spawn(&["--help"]).ended().0, Some(0));
    assert_eq!(Binary::spawn(&["--version"]).ended().0, Some(0));
}

/// Splits the tiny model into two files with an index.
fn sharded() -> Folder {
    let folder = Folder::copy();
    let weights =
        candle_core::safetensors::load(folder.file("model.safetensors"), &Device::Cpu).unwrap();
    std::fs::remove_file(folder.file("model.safetensors")).unwrap();
    let mut names: Vec<&String> = weights.keys().collect();
    names.sort();
    let mut map = serde_json::Map::new();
    for (n, names) in names.chunks(names.len() / 2 + 1).enumerate() {
        let file = format!("model-{:05}-of-00002.safetensors", n + 1);
        let shard: HashMap<&str, Tensor> = names
            .iter()
            .map(|name| (name.as_str(), weights[name.as_str()].clone()))
            .collect();
        candle_core::safetensors::save(&shard, folder.file(&file)).unwrap();
        map.extend(names.iter().map(|&name| (name.clone(), json!(file))));
    }
    let index = json!({"metadata": {"total_size": 2_559_488}, "weight_map": map});
    std::fs::write(
        folder.file("model.safetensors.index.json"),
        index.to_string(),
    )
    .unwrap();
    folder
}

#[tokio::test]
async fn all_shards_of_a_checkpoint_are_loaded() {
    let folder = sharded();
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    assert_eq!(server.client.health().await.memory.weights, 2_559_488);
    assert_eq!(
        server
            .client
            .answer(&ask("j", "What is the capital of France?"))
            .await
            .text,
        "Paris"
    );
}

#[test]
fn a_missing_shard_is_named() {
    let folder = sharded();
    std::fs::remove_file(folder.file("model-00002-of-00002.safetensors")).unwrap();
    says(
        &failure(folder.path(), &[]),
        &["model-00002-of-00002.safetensors"],
    );
    std::fs::copy(
        folder.file("model-00001-of-00002.safetensors"),
        folder.file("model-00002-of-00002.safetensors"),
    )
    .unwrap();
    says(&failure(folder.path(), &[]), &["two files"]);
}

#[tokio::test]
async fn tied_weights_need_no_output_matrix() {
    let folder = Folder::copy();
    folder.edit("config.json", |config| {
        config["tie_word_embeddings"] = json!(true);
    });
    let mut weights =
        candle_core::safetensors::load(folder.file("model.safetensors"), &Device::Cpu).unwrap();
    let output = weights.remove("lm_head.weight").unwrap();
    candle_core::safetensors::save(&weights, folder.file("model.safetensors")).unwrap();
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    let saved = (output.elem_count() * 4) as u64;
    assert_eq!(
        server.client.health().await.memory.weights,
        2_559_488 - saved
    );
    let mut body = ask("j", "Sing for ever.");
    body["max_tokens"] = json!(3);
    assert!(server.client.answer(&body).await.end.tokens_out > 0);
}

/// Keys and values of a thousand slots for sixteen million tokens are more than any machine has.
#[test]
fn what_does_not_fit_is_refused_with_what_is_needed_and_free() {
    let folder = Folder::copy();
    folder.edit("config.json", |config| {
        config["max_position_embeddings"] = json!(16_000_000);
    });
    let (error, help) = error_and_help(folder.path(), &["--slots", "1000"]);
    says(
        &error,
        &["does not fit", "TB", "1000 x 16000000 tokens", "free"],
    );
    let (_, most) = help.split_once("--context ").unwrap();
    let most: u64 = most.split_whitespace().next().unwrap().parse().unwrap();
    assert!(most > 0 && most < 16_000_000, "{help}");
}
