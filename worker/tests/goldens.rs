//! Numbers and texts against `transformers`, as `examples/models/make.py` wrote them.

use pool_core::serving::{Input, Message};
use serde_json::Value;
use worker::model::Sequence;
use worker::text::{Detokenizer, Text};

use crate::networks::{assert_close, both, compute, greedy, logits, model};
use crate::support::{examples, read_json, tiny};

fn goldens() -> Value {
    read_json(examples().join("golden/tiny-llama.json"))
}

/// The words of every trained model, with what `transformers` makes of them.
fn families() -> impl Iterator<Item = (&'static str, Text, Value)> {
    [
        ("tiny-llama", "tiny-llama"),
        // The words of the twin lie in its one file.
        ("tiny-llama-gguf", "tiny-llama"),
        ("tiny-qwen2", "tiny-qwen2"),
        ("tiny-phi3", "tiny-phi3"),
        ("tiny-mistral", "tiny-mistral"),
    ]
    .into_iter()
    .map(|(name, golden)| {
        let model = model(&examples().join(name));
        let goldens = read_json(examples().join(format!("golden/{golden}.json")));
        (name, model.text, goldens)
    })
}

fn list<'a>(value: &'a Value, name: &str) -> &'a Vec<Value> {
    value[name].as_array().unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn messages(value: &Value) -> Vec<Message> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let message = |value: &Value| Message {
        role: text(&value["role"]),
        content: text(&value["content"]),
    };
    value.as_array().unwrap().iter().map(message).collect()
}

/// The prompt of a run as a client would send it.
fn input(run: &Value) -> Input {
    match &run["messages"] {
        Value::Null => Input::Prompt(run["text"].as_str().unwrap().to_owned()),
        some => Input::Messages(messages(some)),
    }
}

#[test]
fn conversations_become_the_same_tokens() {
    for (model, text, goldens) in families() {
        let chats = list(&goldens, "chats")
            .iter()
            .filter(|chat| chat["add_generation_prompt"] == true);
        let mut count = 0;
        for chat in chats {
            let found = text
                .encode(&Input::Messages(messages(&chat["messages"])))
                .unwrap();
            assert_eq!(found, ids(&chat["ids"]), "{model}: {}", chat["name"]);
            count += 1;
        }
        assert!(count >= 5, "{model}: {count}");
        for chat in list(&goldens, "bad_chats") {
            let error = text
                .encode(&Input::Messages(messages(&chat["messages"])))
                .unwrap_err();
            let reason = chat["error"].as_str().unwrap();
            assert!(error.to_string().contains(reason), "{model}: {error}");
        }
    }
}

#[test]
fn texts_become_the_same_tokens_and_come_back() {
    for (model, text, goldens) in families() {
        for case in list(&goldens, "tokens") {
            let prompt = case["text"].as_str().unwrap().to_owned();
            let decoded = case["decoded_without_special_tokens"].as_str().unwrap();
            let tokens = ids(&case["ids_with_special_tokens"]);
            assert_eq!(
                text.encode(&Input::Prompt(prompt)).unwrap(),
                tokens,
                "{model}"
            );
            assert_eq!(text.decode(&tokens), decoded, "{model}");
            assert_eq!(piecewise(&tokens, &text), decoded, "{model}");
        }
    }
}

/// The text of tokens that come one at a time; no piece may hold half a character.
fn piecewise(tokens: &[u32], text: &Text) -> String {
    let mut detokenizer = Detokenizer::default();
    let mut out = String::new();
    for &token in tokens {
        let piece = detokenizer.push(token, text);
        assert!(!piece.contains('\u{fffd}'), "{piece:?}");
        out += &piece;
    }
    out + &detokenizer.flush(text)
}

#[test]
fn bytes_that_are_no_character_still_come_out_in_the_end() {
    let text = model(&tiny()).text;
    // The first byte of a rocket, over and over: never a character.
    let rocket = text.encode(&Input::Prompt("🚀".into())).unwrap()[1];
    let tokens = [rocket; 20];
    let mut detokenizer = Detokenizer::default();
    let early: String = tokens
        .iter()
        .map(|&token| detokenizer.push(token, &text))
        .collect();
    assert!(
        early.chars().count() >= 8,
        "{early:?} keeps everything back"
    );
    assert_eq!(early + &detokenizer.flush(&text), text.decode(&tokens));
}

#[test]
fn logits_agree_with_transformers() {
    let goldens = goldens();
    for (name, mut network) in both(&tiny()) {
        let mut everywhere = 0;
        for run in list(&goldens, "runs") {
            let what = format!("{name}: {}", run["name"]);
            let ours = logits(network.as_mut(), &ids(&run["ids"]));
            assert_close(ours.last().unwrap(), &floats(&run["last_logits"]), &what);
            let Some(rows) = run["all_logits"].as_array() else {
                continue;
            };
            assert_eq!(ours.len(), rows.len());
            for (ours, theirs) in ours.iter().zip(rows) {
                assert_close(ours, &floats(theirs), &what);
                everywhere += 1;
            }
        }
        assert!(everywhere > 50);
    }
}

#[test]
fn a_prompt_in_pieces_gives_the_same_logits() {
    let goldens = goldens();
    let run = list(&goldens, "runs")
        .iter()
        .find(|run| run["name"] == "plain long")
        .unwrap();
    for (name, mut network) in both(&tiny()) {
        for size in [1, 7, 128] {
            let mut sequence = Sequence::new(1, ids(&run["ids"]), 0);
            let logits = compute(network.as_mut(), &mut sequence, size);
            let what = format!("{name} in pieces of {size}");
            assert_close(&logits, &floats(&run["last_logits"]), &what);
        }
    }
}

#[test]
fn greedy_continuations_are_equal() {
    let text = model(&tiny()).text;
    for (name, mut network) in both(&tiny()) {
        for run in list(&goldens(), "runs") {
            let prompt = text.encode(&input(run)).unwrap();
            assert_eq!(prompt, ids(&run["ids"]), "{}", run["name"]);
            let theirs = ids(&run["greedy_ids"]);
            let (ours, _) = greedy(network.as_mut(), &prompt, theirs.len());
            assert_eq!(ours, theirs, "{name}: {}", run["name"]);
            let ended = ours.last().is_some_and(|&id| text.is_eos(id));
            assert_eq!(ended, run["stop"] == "eos", "{}", run["name"]);
        }
    }
}
