//! Workers that fail: each task ends as the contract says.

use mock_worker::{Faults, Malformed, MockWorker};
use pool_core::serving::SseParser;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{Daemon, client, text, whole, worker, worker_with};

fn faults(what: Value) -> Faults {
    serde_json::from_value(what).unwrap()
}

#[tokio::test]
async fn before_the_first_token_another_worker_takes_over() {
    let [bad, good] = ["bad", "good"].map(worker);
    let args = ["--stall-timeout", "0.5", "--scheduling", "round-robin"];
    let daemon = Daemon::before(&[&bad, &good], &args).await;
    for fault in [
        json!({"status": 500}),
        json!({"status": 503}),
        json!({"status": 429}),
        json!({"hang": true}),
        json!({"cut": 0}),
        json!({"cut": 40}),
        json!({"malformed": "no_start"}),
        json!({"hang_after": 0}),
    ] {
        bad.set_faults(faults(fault.clone()));
        for _ in 0..2 {
            let id = daemon.submit(json!({})).await;
            let (said, end) = whole(&daemon.events(&id, None).await);
            assert_eq!((said, &end["type"]), (text(16), &json!("end")), "{fault}");
        }
    }
    let tried = bad.seen().jobs.len();
    assert!(tried >= 4, "the bad worker was tried {tried} times");
}

#[tokio::test]
async fn after_the_first_token_a_cut_stream_is_an_error_and_never_a_silent_end() {
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &["--stall-timeout", "0.5"]).await;
    for fault in [
        json!({"cut": 700}),
        json!({"malformed": "no_end"}),
        json!({"malformed": "bad_json"}),
        json!({"malformed": "wrong_index"}),
        json!({"malformed": "wrong_id"}),
        json!({"malformed": "garbage"}),
        json!({"malformed": "oversized"}),
        json!({"hang_after": 3}),
    ] {
        worker.set_faults(faults(fault.clone()));
        let id = daemon.submit(json!({})).await;
        let (said, last) = whole(&daemon.events(&id, None).await);
        assert_eq!(
            (&last["type"], &last["code"]),
            (&json!("error"), &json!("INTERNAL")),
            "{fault}"
        );
        assert!(
            !said.is_empty() && text(16).starts_with(&said),
            "{fault}: {said}"
        );
        assert_eq!(daemon.state(&id).await["status"], "failed");
        worker.set_faults(Faults::default());
        recover(&daemon).await;
    }
    for harmless in [Malformed::Crlf, Malformed::TwoEnds] {
        worker.set_faults(Faults {
            malformed: Some(harmless),
            ..Faults::default()
        });
        let id = daemon.submit(json!({})).await;
        let (said, last) = whole(&daemon.events(&id, None).await);
        assert_eq!(
            (said, &last["type"]),
            (text(16), &json!("end")),
            "{harmless:?}"
        );
    }
}

/// Waits until the only worker is trusted again.
async fn recover(daemon: &Daemon) {
    let id = daemon.submit(json!({"max_tokens": 1})).await;
    let (said, _) = whole(&daemon.events(&id, None).await);
    assert_eq!(said, text(1));
}

/// Workers that are cut at a time, each with a model of its own.
const LANES: usize = 8;

/// Bytes by which two streams of the same tokens may differ: the seconds of a time have as many digits as they need.
const DIGITS: usize = 12;

#[tokio::test]
async fn a_stream_cut_at_every_byte_ends_once() {
    let names: Vec<String> = (0..LANES).map(|lane| format!("m{lane}")).collect();
    let workers: Vec<MockWorker> = names
        .iter()
        .map(|name| {
            worker_with(name, |settings| {
                settings.model = name.parse().unwrap();
                settings.rate = 0.0;
            })
        })
        .collect();
    let daemon = Daemon::before(&workers.iter().collect::<Vec<_>>(), &[]).await;
    // As long as the one that the daemon asks for: its job is a task's id and the number of the attempt.
    let job = format!("t-{}-1", "0".repeat(32));
    let body = json!({"job_id": job, "prompt": "Say it.", "max_tokens": 2, "seed": 7});
    let answer = client()
        .post(format!("{}/execute", workers[0].url()))
        .json(&body)
        .send();
    let stream = answer.await.unwrap().bytes().await.unwrap();
    let lane = async |lane: usize| {
        for at in (lane..stream.len()).step_by(LANES) {
            cut_at(at, &stream, &workers[lane], &daemon, &names[lane]).await;
        }
    };
    futures::future::join_all((0..LANES).map(lane)).await;
}

/// Cuts the stream of one task: what is whole is passed on, and a task without a token runs again.
async fn cut_at(at: usize, stream: &[u8], worker: &MockWorker, daemon: &Daemon, model: &str) {
    worker.set_faults(Faults {
        cut: Some(at as u64),
        times: Some(1),
        ..Faults::default()
    });
    let task = json!({"model": model, "max_tokens": 2, "seed": 7});
    let id = daemon.submit(task.clone()).await;
    let (said, last) = whole(&daemon.events(&id, None).await);
    let sent = |bytes: usize, event: &str| {
        let frames = SseParser::default().push(&stream[..bytes.min(stream.len())]);
        frames.iter().filter(|frame| frame.event == event).count()
    };
    let (least, most) = (at.saturating_sub(DIGITS), at + DIGITS);
    let is_sent = |tokens: usize| (sent(least, "token")..=sent(most, "token")).contains(&tokens);
    if last["type"] == "end" {
        assert_eq!(said, text(2), "cut at {at}");
        assert!(is_sent(0) || sent(most, "end") == 1, "cut at {at}: {last}");
    } else {
        let tokens = (1..=2).find(|&tokens| said == text(tokens as u64));
        assert!(tokens.is_some_and(is_sent), "cut at {at}: {said}");
    }
    // So that the next failure is the first one again.
    worker.set_faults(Faults::default());
    let id = daemon.submit(task).await;
    assert_eq!(whole(&daemon.events(&id, None).await).0, text(2));
}

#[tokio::test]
async fn openais_streams_end_with_done_or_with_an_error() {
    let worker = worker("w1");
    let daemon = Daemon::before(&[&worker], &["--stall-timeout", "0.5"]).await;
    let ask = async |stream: bool| {
        let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "Say it."}],
            "max_tokens": 16, "stream": stream});
        daemon
            .send(Method::POST, "/v1/chat/completions", Some(&body))
            .await
    };
    let all = ask(true).await.text().await.unwrap();
    assert!(all.ends_with("data: [DONE]\n\n"), "{all}");
    for fault in [json!({"cut": 900}), json!({"hang_after": 3})] {
        worker.set_faults(faults(fault));
        let cut = ask(true).await.text().await.unwrap();
        let last = cut.trim_end().rsplit("\n\n").next().unwrap();
        let error: Value = serde_json::from_str(last.strip_prefix("data: ").unwrap()).unwrap();
        assert_eq!(error["error"]["type"], "server_error", "{cut}");
        assert!(!cut.contains("[DONE]"));
        worker.set_faults(Faults::default());
        recover(&daemon).await;
    }
    worker.set_faults(faults(json!({"status": 400, "times": 1})));
    let refused = ask(false).await;
    assert_eq!(refused.status(), 400);
    assert!(refused.json::<Value>().await.unwrap()["error"]["message"].is_string());
    // A request that is to blame does not make its worker suspect.
    assert_eq!(ask(false).await.status(), 200);
}

#[tokio::test]
async fn a_worker_that_lies_about_its_health_is_left_alone_for_a_while() {
    let [liar, honest] = ["liar", "honest"].map(worker);
    let args = ["--scheduling", "round-robin"];
    let daemon = Daemon::before(&[&liar, &honest], &args).await;
    liar.set_faults(faults(json!({"status": 500})));
    for _ in 0..12 {
        let id = daemon.submit(json!({"max_tokens": 1})).await;
        assert_eq!(whole(&daemon.events(&id, None).await).1["type"], "end");
    }
    let tries = liar.seen().jobs.len();
    assert!((3..=6).contains(&tries), "the liar was tried {tries} times");
}

#[tokio::test]
async fn a_worker_that_does_not_answer_its_probe_gets_nothing() {
    let [silent, well] = ["silent", "well"].map(worker);
    let daemon = Daemon::before(&[&silent, &well], &["--scheduling", "round-robin"]).await;
    silent.set_faults(faults(json!({"ready": "hang"})));
    daemon.ready(1).await;
    let before = silent.seen().jobs.len();
    for _ in 0..4 {
        let id = daemon.submit(json!({"max_tokens": 1})).await;
        daemon.events(&id, None).await;
    }
    assert_eq!(silent.seen().jobs.len(), before);
    silent.set_faults(Faults::default());
    daemon.ready(2).await;
}
