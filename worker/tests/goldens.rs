//! Numbers and texts against `transformers`, as `examples/models/make.py` wrote them.

use pool_core::device::Device;
use pool_core::serving::{Input, Message};
use serde_json::Value;
use worker::engine::Sampler;
use worker::model::{Decoder, Model, Options, Sequence};
use worker::text::{Detokenizer, Text};

use crate::support::{examples, read_json, tiny};

/// The largest difference of logits that passes; the values are of the order of 10.
const CLOSE: f32 = 1e-4;

fn model() -> Model {
    Model::load(&Options::new(tiny(), Device::Cpu), &|_| {}).unwrap()
}

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
        let options = Options::new(examples().join(name), Device::Cpu);
        let model = Model::load(&options, &|_| {}).unwrap();
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

fn difference(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter()
        .zip(theirs)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max)
}

fn assert_close(ours: &[f32], theirs: &[f32], what: &str) {
    let difference = difference(ours, theirs);
    assert!(difference < CLOSE, "{what}: {difference}");
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
    let Model { text, .. } = model();
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
    let Model { decoder, .. } = model();
    let goldens = goldens();
    let mut everywhere = 0;
    for run in list(&goldens, "runs") {
        let name = run["name"].as_str().unwrap();
        let mut sequence = decoder.sequence(0, 512).unwrap();
        let hidden = decoder.forward(&ids(&run["ids"]), &mut sequence).unwrap();
        assert_close(
            &decoder.last_logits(&hidden).unwrap(),
            &floats(&run["last_logits"]),
            name,
        );
        let Some(rows) = run["all_logits"].as_array() else {
            continue;
        };
        let ours: Vec<Vec<f32>> = decoder.logits(&hidden).unwrap().to_vec2().unwrap();
        assert_eq!(ours.len(), rows.len());
        for (ours, theirs) in ours.iter().zip(rows) {
            assert_close(ours, &floats(theirs), name);
            everywhere += 1;
        }
    }
    assert!(everywhere > 50);
}

#[test]
fn a_prompt_in_pieces_gives_the_same_logits() {
    let Model { decoder, .. } = model();
    let goldens = goldens();
    let run = list(&goldens, "runs")
        .iter()
        .find(|run| run["name"] == "plain long")
        .unwrap();
    let tokens = ids(&run["ids"]);
    for size in [1, 7, 128] {
        let mut sequence = decoder.sequence(tokens.len(), tokens.len()).unwrap();
        let hidden = tokens
            .chunks(size)
            .map(|chunk| decoder.forward(chunk, &mut sequence).unwrap());
        let logits = decoder.last_logits(&hidden.last().unwrap()).unwrap();
        assert_close(
            &logits,
            &floats(&run["last_logits"]),
            &format!("in pieces of {size}"),
        );
    }
}

#[test]
fn a_sequence_that_grows_is_the_same_as_one_that_came_whole() {
    let Model { decoder, text } = model();
    let prompt = text
        .encode(&Input::Prompt("one two three ".repeat(60)))
        .unwrap();
    assert!(prompt.len() > 300, "{}", prompt.len());
    let mut whole = decoder.sequence(0, 512).unwrap();
    let hidden = decoder.forward(&prompt, &mut whole).unwrap();
    let expected = decoder.last_logits(&hidden).unwrap();
    let mut grown = decoder.sequence(0, 512).unwrap();
    let small = grown.bytes();
    let hidden = prompt
        .iter()
        .map(|&token| decoder.forward(&[token], &mut grown).unwrap());
    assert_close(
        &decoder.last_logits(&hidden.last().unwrap()).unwrap(),
        &expected,
        "grown",
    );
    assert!(grown.bytes() > small);
}

#[test]
fn greedy_continuations_are_equal() {
    let Model { decoder, text } = model();
    for run in list(&goldens(), "runs") {
        let prompt = text.encode(&input(run)).unwrap();
        assert_eq!(prompt, ids(&run["ids"]), "{}", run["name"]);
        let theirs = ids(&run["greedy_ids"]);
        let mut sequence = decoder.sequence(0, 512).unwrap();
        let ours = continue_greedily(&decoder, &mut sequence, prompt, theirs.len());
        assert_eq!(ours, theirs, "{}", run["name"]);
        let ended = ours.last().is_some_and(|&id| text.is_eos(id));
        assert_eq!(ended, run["stop"] == "eos", "{}", run["name"]);
    }
}

fn continue_greedily(
    decoder: &Decoder,
    sequence: &mut Sequence,
    prompt: Vec<u32>,
    count: usize,
) -> Vec<u32> {
    let mut sampler = Sampler::new(pool_core::serving::Sampling::greedy(), 0, &prompt);
    let mut next = prompt;
    let mut out = Vec::new();
    while out.len() < count {
        let hidden = decoder.forward(&next, sequence).unwrap();
        let token = sampler
            .sample(decoder.last_logits(&hidden).unwrap())
            .unwrap();
        out.push(token);
        next = vec![token];
    }
    out
}

#[test]
fn a_sequence_takes_no_more_than_its_room() {
    let Model { decoder, .. } = model();
    let mut sequence = decoder.sequence(0, 4).unwrap();
    decoder.forward(&[1, 2, 3], &mut sequence).unwrap();
    assert!(decoder.forward(&[1, 2], &mut sequence).is_err());
    assert!(decoder.forward(&[], &mut sequence).is_err());
    decoder.forward(&[4], &mut sequence).unwrap();
    assert_eq!((sequence.position(), sequence.limit()), (4, 4));
}
