//! Sequences that share steps, slots and beginnings answer as each alone.

use pool_core::serving::{Input, StopReason};
use pool_core::weights::Quantization;
use serde_json::{Value, json};
use worker::model::{Network, Sequence, Span, Wanted};
use worker::server::Settings;

use crate::networks::{assert_close, best, both, compute, greedy, kernels, model};
use crate::support::{Folder, Server, ask, examples, launch, tiny};

const FAMILIES: [&str; 4] = ["tiny-llama", "tiny-qwen2", "tiny-phi3", "tiny-mistral"];

const PROMPTS: [&str; 4] = [
    "What is the capital of France?",
    "Count to fifty.",
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen",
    "The machines",
];

fn prompts(text: &worker::text::Text) -> Vec<Vec<u32>> {
    let encode = |prompt: &&str| text.encode(&Input::Prompt((*prompt).to_owned())).unwrap();
    PROMPTS.iter().map(encode).collect()
}

/// Each sequence joins two steps after the one before it, with its prompt in pieces of five, so that prompts and answers share
/// steps; the logits that chose each token.
fn together(network: &mut dyn Network, prompts: &[Vec<u32>], count: usize) -> Vec<Vec<Vec<f32>>> {
    let vocab = network.config().vocab;
    let rope = network.config().rope.clone();
    let mut sequences: Vec<Sequence> = Vec::new();
    let mut logits: Vec<Vec<Vec<f32>>> = vec![Vec::new(); prompts.len()];
    for step in 0.. {
        if step % 2 == 0 && sequences.len() < prompts.len() {
            let slot = sequences.len();
            sequences.push(Sequence::new(slot, prompts[slot].clone(), 0));
        }
        for sequence in &mut sequences {
            sequence.prepare(&rope);
        }
        let running = |s: &&Sequence| s.pending() > 0;
        let spans: Vec<Span<'_>> = sequences
            .iter()
            .filter(running)
            .map(|s| s.span(5))
            .collect();
        if spans.is_empty() {
            break;
        }
        let counts: Vec<(usize, usize)> = spans.iter().map(|s| (s.slot, s.tokens.len())).collect();
        let out = network.forward(&spans).unwrap().logits.to_vec();
        let mut rows = out.chunks_exact(vocab);
        for (slot, computed) in counts {
            let sequence = &mut sequences[slot];
            sequence.advance(computed);
            if sequence.pending() == 0 {
                let row = rows.next().unwrap();
                logits[slot].push(row.to_vec());
                if logits[slot].len() < count {
                    sequence.push(best(row));
                }
            }
        }
        assert!(rows.next().is_none());
    }
    logits
}

/// The kernels sum in one order whatever the batch, so this holds to the bit, quantised or not.
#[test]
fn a_sequence_gives_the_same_bits_alone_and_in_any_batch() {
    for name in FAMILIES {
        let dir = examples().join(name);
        let prompts = prompts(&model(&dir).text);
        for quantize in [None, Some(Quantization::Q8_0), Some(Quantization::Q4)] {
            let mut network = kernels(&dir, quantize);
            let together = together(network.as_mut(), &prompts, 24);
            for (prompt, rows) in prompts.iter().zip(&together) {
                let mut sequence = Sequence::new(3, prompt.clone(), 0);
                for row in rows {
                    let alone = compute(network.as_mut(), &mut sequence, usize::MAX);
                    assert!(alone == *row, "{name} {quantize:?}");
                    sequence.push(best(row));
                }
            }
        }
    }
}

#[test]
fn a_sequence_gives_the_same_tokens_alone_and_in_any_batch_of_tensors() {
    for name in FAMILIES {
        let dir = examples().join(name);
        let prompts = prompts(&model(&dir).text);
        let [_, (_, mut network)] = both(&dir);
        let together = together(network.as_mut(), &prompts, 24);
        for (prompt, rows) in prompts.iter().zip(together) {
            let (alone, _) = greedy(network.as_mut(), prompt, 24);
            let rows: Vec<u32> = rows.iter().map(|row| best(row)).collect();
            assert_eq!(rows, alone, "{name}");
        }
    }
}

/// Sequences of which each is idle now and then, so that slots between others are: what an idle slot holds stays, and the others
/// answer as alone. The likeliest token alone is that of the logits.
#[test]
fn idle_slots_between_others_change_nothing() {
    for name in FAMILIES {
        let dir = examples().join(name);
        let prompts = prompts(&model(&dir).text);
        for (ops, mut network) in both(&dir) {
            let rope = network.config().rope.clone();
            let vocab = network.config().vocab;
            let new = |(slot, prompt): (usize, &Vec<u32>)| Sequence::new(slot, prompt.clone(), 0);
            let mut sequences: Vec<Sequence> = prompts.iter().enumerate().map(new).collect();
            for sequence in &mut sequences {
                let logits = compute(network.as_mut(), sequence, usize::MAX);
                sequence.push(best(&logits));
            }
            for step in 0..24 {
                let mut running: Vec<&mut Sequence> = sequences.iter_mut().collect();
                running.remove(step % 4);
                if step % 3 == 0 {
                    running.remove(1);
                }
                for sequence in &mut running {
                    sequence.prepare(&rope);
                }
                let mut spans: Vec<Span<'_>> = running.iter().map(|s| s.span(1)).collect();
                let logits = network.forward(&spans).unwrap().logits.to_vec();
                // Again, with what is computed already: one by its logits, the others by their likeliest tokens.
                for span in &mut spans[1..] {
                    span.wanted = Wanted::Likeliest;
                }
                let again = network.forward(&spans).unwrap();
                assert_close(again.logits, &logits[..vocab], name);
                let rows = logits.chunks_exact(vocab);
                let expected: Vec<u32> = rows.map(best).collect();
                let found: Vec<u32> = again.likeliest.iter().map(|token| token.unwrap()).collect();
                assert_eq!(found, expected[1..], "{name} {ops}");
                for (sequence, token) in running.iter_mut().zip(expected) {
                    sequence.advance(1);
                    sequence.push(token);
                }
            }
            for (sequence, prompt) in sequences.iter().zip(&prompts) {
                let tokens = &sequence.tokens()[prompt.len()..];
                let (alone, _) = greedy(network.as_mut(), prompt, tokens.len());
                assert_eq!(tokens, alone, "{name} {ops}");
            }
        }
    }
}

/// What another slot holds can be gone on with after a copy, windows and all.
#[test]
fn a_copied_beginning_is_as_good_as_a_computed_one() {
    for name in FAMILIES {
        let dir = examples().join(name);
        let prompt = prompts(&model(&dir).text).swap_remove(2);
        let mut long = prompt.repeat(6);
        long.truncate(150);
        for (ops, mut network) in both(&dir) {
            let mut whole = Sequence::new(0, long.clone(), 0);
            let expected = compute(network.as_mut(), &mut whole, usize::MAX);
            for held in [1, 17, 100, long.len() - 1] {
                network.copy(0, 2, held).unwrap();
                let mut copied = Sequence::new(2, long.clone(), held);
                let found = compute(network.as_mut(), &mut copied, usize::MAX);
                if ops == "kernels" {
                    assert!(found == expected, "{name} from {held}");
                } else {
                    assert_eq!(best(&found), best(&expected), "{name} from {held}");
                }
            }
        }
    }
}

fn words(job_id: &str, prompt: &str) -> Value {
    json!({"job_id": job_id, "prompt": prompt, "temperature": 0, "max_tokens": 30})
}

#[tokio::test]
async fn a_conversation_goes_on_with_what_is_there_and_says_the_same() {
    let folder = Folder::endless();
    let long = "The machines of the fleet sing one two three four five six seven. ".repeat(4);
    let more = format!("{long}And then they count to fifty.");
    let fresh = Server::start(launch(folder.path()), Settings::default()).await;
    let alone = fresh.client.answer(&words("a", &more)).await;
    assert_eq!(alone.end.tokens_cached, 0);
    let server = Server::start(launch(folder.path()), Settings::default()).await;
    server.client.answer(&words("b", &long)).await;
    let reused = server.client.answer(&words("c", &more)).await;
    assert!(
        reused.end.tokens_cached > 30,
        "{}",
        reused.end.tokens_cached
    );
    assert_eq!(reused.text, alone.text);
    let again = server.client.answer(&words("d", &more)).await;
    assert_eq!(again.end.tokens_cached + 1, again.end.tokens_in);
    assert_eq!(again.text, alone.text);
}

#[tokio::test]
async fn many_answers_at_once_are_those_of_each_alone() {
    let mut launch = launch(&tiny());
    launch.slots = 8;
    let Server { client, .. } = Server::start(launch, Settings::default()).await;
    let questions = crate::support::read_json(examples().join("questions.json"));
    let questions = questions.as_array().unwrap();
    let asked: Vec<Value> = questions
        .iter()
        .enumerate()
        .map(|(n, q)| ask(&format!("q-{n}"), q["question"].as_str().unwrap()))
        .collect();
    let answers = asked.iter().take(40).map(|body| client.answer(body));
    let answers = futures::future::join_all(answers).await;
    for (answer, question) in answers.iter().zip(questions) {
        assert_eq!(answer.text, question["answer"].as_str().unwrap());
        assert_eq!(answer.end.stop_reason, StopReason::Eos);
    }
    assert_eq!(client.health().await.slots.busy, 0);
}
