//! What the model says, through the real binary or a real server.

use pool_core::serving::StopReason;
use serde_json::{Value, json};
use worker::server::Settings;

use crate::support::{
    Binary, Client, Folder, Server, ask, examples, launch, read_json, sing, tiny,
};

#[tokio::test]
async fn every_listed_question_is_answered_right_by_the_binary() {
    let questions = read_json(examples().join("questions.json"));
    let questions = questions.as_array().unwrap();
    assert!(questions.len() >= 30);
    for model in [
        "tiny-llama",
        "tiny-llama-gguf",
        "tiny-qwen2",
        "tiny-phi3",
        "tiny-mistral",
    ] {
        let (_binary, client) = Binary::serve(&examples().join(model));
        for (n, question) in questions.iter().enumerate() {
            let text = question["question"].as_str().unwrap();
            let answer = client.answer(&ask(&format!("q-{n}"), text)).await;
            assert_eq!(
                answer.text,
                question["answer"].as_str().unwrap(),
                "{model}: {text}"
            );
            assert_eq!(answer.end.stop_reason, StopReason::Eos, "{model}: {text}");
        }
    }
}

#[tokio::test]
async fn weights_are_kept_as_the_command_line_says() {
    let mut bytes = Vec::new();
    for args in [
        &[][..],
        &["--dtype", "f32"],
        &["--dtype", "bf16"],
        &["--dtype", "f16"],
        &["--quantize", "q8_0"],
        &["--quantize", "q4"],
    ] {
        let (_binary, client) = Binary::serve_with(&tiny(), args);
        bytes.push(client.health().await.memory.weights);
        let question = ask("a", "What is the capital of France?");
        assert_eq!(client.answer(&question).await.text, "Paris", "{args:?}");
    }
    let [auto, f32, bf16, f16, q8_0, q4] = bytes[..] else {
        panic!("{bytes:?}")
    };
    assert!(
        auto == f32 && f32 > bf16 && bf16 == f16 && f16 > q8_0 && q8_0 > q4,
        "{bytes:?}"
    );
}

#[tokio::test]
async fn requests_leave_nothing_behind_for_the_next() {
    let server = Server::tiny().await;
    let alone = server
        .client
        .answer(&ask("a", "What is the capital of France?"))
        .await;
    let long = server.client.answer(&ask("b", "Count to fifty.")).await;
    let again = server
        .client
        .answer(&ask("c", "What is the capital of France?"))
        .await;
    assert!(long.text.len() > 100);
    assert_eq!(again.text, alone.text);
    assert_eq!(again.end.tokens_in, alone.end.tokens_in);
}

fn hot(job_id: &str, seed: Option<u64>) -> Value {
    json!({"job_id": job_id, "prompt": "The machines", "temperature": 2, "max_tokens": 40, "seed": seed})
}

fn limited(mut body: Value, max_tokens: u64) -> Value {
    body["max_tokens"] = json!(max_tokens);
    body
}

#[tokio::test]
async fn the_same_seed_gives_the_same_tokens() {
    // At this heat some seeds end an answer before its first word; a model that knows no end never does.
    let folder = Folder::endless();
    let Server { client, .. } = Server::start(launch(folder.path()), Settings::default()).await;
    let first = client.answer(&hot("a", Some(7))).await;
    assert_eq!(first.seed, 7);
    assert_eq!(client.answer(&hot("b", Some(7))).await.text, first.text);
    assert_ne!(client.answer(&hot("c", Some(8))).await.text, first.text);
    let chosen = client.answer(&hot("d", None)).await;
    let other = client.answer(&hot("e", None)).await;
    assert_ne!(chosen.seed, other.seed);
    assert_eq!(
        client.answer(&hot("f", Some(chosen.seed))).await.text,
        chosen.text
    );
}

#[tokio::test]
async fn many_at_once_answer_as_each_alone() {
    let folder = Folder::endless();
    let Server { client, .. } = Server::start(launch(folder.path()), Settings::default()).await;
    let bodies: Vec<_> = (0..12_u64)
        .map(|n| match n % 3 {
            0 => limited(sing(&format!("j-{n}")), 30 + n),
            1 => hot(&format!("j-{n}"), Some(n)),
            _ => {
                let prompt = "<|user|>\nCount to fifty.</s>\n<|assistant|>\n";
                let job_id = format!("j-{n}");
                limited(
                    json!({"job_id": job_id, "prompt": prompt, "temperature": 0}),
                    60,
                )
            }
        })
        .collect();
    let mut alone = Vec::new();
    for body in &bodies {
        alone.push(client.answer(body).await.text);
    }
    // Twelve for four slots: the others wait in the queue.
    let together = futures::future::join_all(bodies.iter().map(|body| client.answer(body))).await;
    let together: Vec<String> = together.into_iter().map(|answer| answer.text).collect();
    assert_eq!(together, alone);
}

#[tokio::test]
async fn max_tokens_and_the_context_end_an_answer() {
    let Server { client, .. } = Server::tiny().await;
    let mut few = ask("a", "Count to fifty.");
    few["max_tokens"] = json!(5);
    let answer = client.answer(&few).await;
    assert_eq!((answer.end.tokens_out, answer.pieces), (5, 5));
    assert_eq!(answer.end.stop_reason, StopReason::MaxTokens);
    let full = client.answer(&ask("b", "Sing for ever.")).await;
    assert_eq!(full.end.tokens_in + full.end.tokens_out, 512);
    assert_eq!(full.end.stop_reason, StopReason::MaxTokens);
}

async fn stopped(client: &Client, stop: &[&str]) -> (String, StopReason, Option<String>) {
    let mut body = ask("stop", "Name the months of the year.");
    body["stop"] = json!(stop);
    let answer = client.answer(&body).await;
    (
        answer.text,
        answer.end.stop_reason,
        answer.end.stop_sequence,
    )
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_across_tokens() {
    let Server { client, .. } = Server::tiny().await;
    let (text, reason, stop) = stopped(&client, &["nothing", "y, Mar", "March"]).await;
    assert_eq!(text, "January, Februar");
    assert_eq!(
        (reason, stop.as_deref()),
        (StopReason::StopSequence, Some("y, Mar"))
    );
    // What looked like the beginning of a stop text is given out after all.
    let (text, reason, _) = stopped(&client, &["December."]).await;
    assert!(text.ends_with("November, December"), "{text}");
    assert_eq!(reason, StopReason::Eos);
}

/// Of the four places that may know what ends an answer, each alone is enough.
#[tokio::test]
async fn the_end_of_an_answer_is_known_from_wherever_it_is_written() {
    for place in [
        "config.json",
        "generation_config.json",
        "tokenizer_config.json",
        "the template",
    ] {
        let folder = Folder::copy();
        for (file, field) in [
            ("config.json", "eos_token_id"),
            ("generation_config.json", "eos_token_id"),
            ("tokenizer_config.json", "eos_token"),
        ] {
            folder.edit(file, |config| {
                if file != place {
                    config[field] = Value::Null;
                }
            });
        }
        folder.edit("tokenizer_config.json", |config| {
            let mut template = config["chat_template"].as_str().unwrap().to_owned();
            if place != "the template" {
                let ended = "'<|assistant|>\\n' + message['content'] | trim + eos_token";
                assert!(template.contains(ended));
                template = template.replace(ended, ended.trim_end_matches(" + eos_token"));
            }
            config["chat_template"] = json!(template.replace("eos_token", "'</s>'"));
        });
        let server = Server::start(launch(folder.path()), Settings::default()).await;
        let answer = server
            .client
            .answer(&ask("j", "What is the capital of France?"))
            .await;
        assert_eq!(
            (answer.text.as_str(), answer.end.stop_reason),
            ("Paris", StopReason::Eos),
            "{place}"
        );
    }
}

#[tokio::test]
async fn characters_come_whole() {
    let Server { client, .. } = Server::tiny().await;
    let answer = client.answer(&ask("a", "Show me a rocket.")).await;
    assert_eq!(answer.text, "🚀");
    assert_eq!(answer.pieces, 1);
    assert!(answer.end.tokens_out > 1);
    // Cut inside the character: what is there comes out as the replacement character, as in `transformers`.
    let mut cut = ask("b", "Show me a rocket.");
    cut["max_tokens"] = json!(2);
    assert_eq!(client.answer(&cut).await.text, "\u{fffd}");
}
