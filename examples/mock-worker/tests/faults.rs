//! Each fault as a client sees it.

use std::time::{Duration, Instant};

use mock_worker::{Faults, Malformed, MockWorker, Outcome, ReadyFault, Settings, text_of};
use pool_core::serving::StreamFault;
use serde_json::{Value, json};

use crate::support::{ask, ask_faulty, bytes, client, ended, get, judge, post, settings, worker};

/// Long enough to tell silence from slowness.
const SILENCE: Duration = Duration::from_millis(300);

async fn malformed(worker: &MockWorker, malformed: Malformed) -> Vec<u8> {
    let faults = Faults {
        malformed: Some(malformed),
        ..Faults::default()
    };
    let (bytes, is_whole) = bytes(ask_faulty(worker, 3, &faults)).await;
    assert!(is_whole, "{malformed:?}");
    bytes
}

#[tokio::test]
async fn malformed_streams_break_the_contract_each_in_its_way() {
    let worker = worker(settings());
    let fault = async |kind| judge(&malformed(&worker, kind).await).unwrap_err();
    assert!(matches!(
        fault(Malformed::BadJson).await,
        StreamFault::Unreadable { .. }
    ));
    assert_eq!(
        fault(Malformed::WrongIndex).await,
        StreamFault::WrongToken {
            expected: 1,
            found: 2
        }
    );
    assert_eq!(
        fault(Malformed::WrongId).await,
        StreamFault::WrongId {
            expected: 2,
            found: "3".into()
        }
    );
    assert_eq!(fault(Malformed::NoStart).await, StreamFault::NotStarted);
    assert_eq!(fault(Malformed::NoEnd).await, StreamFault::Cut);
    assert_eq!(fault(Malformed::TwoEnds).await, StreamFault::AfterEnd);
    assert!(judge(&malformed(&worker, Malformed::Garbage).await).is_err());
    let oversized = malformed(&worker, Malformed::Oversized).await;
    assert!(oversized.len() > 4 << 20);
    assert!(judge(&oversized).is_ok());
    let crlf = malformed(&worker, Malformed::Crlf).await;
    assert!(crlf.ends_with(b"\r\n\r\n"));
    assert_eq!(judge(&crlf).unwrap().text, text_of(3, 4));
}

#[tokio::test]
async fn openai_streams_are_malformed_too() {
    let worker = worker(settings());
    let body = json!({ "model": "tiny", "prompt": "x", "max_tokens": 3, "stream": true });
    for (kind, sign, times) in [
        (Malformed::BadJson, "data: {\"id\":\n\n", 1),
        (Malformed::WrongIndex, "\"index\":1", 1),
        (Malformed::NoEnd, "[DONE]", 0),
        (Malformed::TwoEnds, "[DONE]", 2),
    ] {
        worker.set_faults(Faults {
            malformed: Some(kind),
            ..Faults::default()
        });
        let (bytes, _) = bytes(post(&worker, "/v1/completions", &body)).await;
        let stream = String::from_utf8(bytes).unwrap();
        assert_eq!(stream.matches(sign).count(), times, "{kind:?} {stream}");
    }
}

#[tokio::test]
async fn a_cut_comes_after_exactly_so_many_bytes() {
    let worker = worker(settings());
    let (whole, _) = bytes(ask(&worker, "j", 3)).await;
    // Beyond the start, whose time differs from one to the next only in its digits.
    for cut in (0..whole.len() as u64 - 40).step_by(7) {
        worker.forget();
        let faults = Faults {
            cut: Some(cut),
            ..Faults::default()
        };
        let (bytes, is_whole) = bytes(ask_faulty(&worker, 3, &faults)).await;
        assert_eq!((bytes.len() as u64, is_whole), (cut, false));
        assert_eq!(ended(&worker).await.outcome, Outcome::Cut);
    }
    let document = json!({ "model": "tiny", "prompt": "x", "max_tokens": 1 });
    worker.set_faults(Faults {
        cut: Some(5),
        ..Faults::default()
    });
    let (bytes, is_whole) = bytes(post(&worker, "/v1/completions", &document)).await;
    assert_eq!((bytes.as_slice(), is_whole), (&b"{\"id\""[..], false));
}

#[tokio::test]
async fn a_worker_that_hangs_hears_nothing_but_the_leaving() {
    let worker = worker(settings());
    let hang = Faults {
        hang: true,
        ..Faults::default()
    };
    let silent = tokio::time::timeout(SILENCE, ask_faulty(&worker, 3, &hang).send()).await;
    assert!(silent.is_err(), "{silent:?}");
    assert_eq!(ended(&worker).await.outcome, Outcome::Disconnected);
    worker.forget();
    let hang = Faults {
        hang_after: Some(2),
        ..Faults::default()
    };
    let mut stream = ask_faulty(&worker, 3, &hang).send().await.unwrap();
    let mut all = Vec::new();
    while let Ok(piece) = tokio::time::timeout(SILENCE, stream.chunk()).await {
        all.extend_from_slice(&piece.unwrap().unwrap());
    }
    assert_eq!(judge(&all).unwrap_err(), StreamFault::Cut);
    assert!(String::from_utf8(all).unwrap().contains(" 1.."));
    post(&worker, "/cancel", &json!({ "job_id": "faulty" }))
        .send()
        .await
        .unwrap();
    assert!(tokio::time::timeout(SILENCE, stream.chunk()).await.is_err());
    drop(stream);
    let job = ended(&worker).await;
    assert_eq!((job.outcome, job.tokens), (Outcome::Disconnected, 2));
    assert!(job.cancelled_at.is_some());
}

#[tokio::test]
async fn a_slow_worker_is_slow() {
    let worker = worker(settings());
    let slow = Faults {
        rate: Some(20.0),
        ..Faults::default()
    };
    let answer = judge(&bytes(ask_faulty(&worker, 5, &slow)).await.0).unwrap();
    assert!(
        answer.end.decode_time_ms >= 200.0,
        "{}",
        answer.end.decode_time_ms
    );
}

#[tokio::test]
async fn refusals_come_while_the_worker_says_that_it_is_ready_and_end_after_their_times() {
    let worker = worker(settings());
    for status in [400, 429, 500, 503] {
        let faults = json!({ "status": status, "times": 2 });
        let set = client()
            .put(worker.url() + "/faults")
            .json(&faults)
            .send()
            .await
            .unwrap();
        assert_eq!(set.status(), 204);
        for expected in [status, status, 200] {
            assert_eq!(
                ask(&worker, "j", 1).send().await.unwrap().status().as_u16(),
                expected
            );
            assert_eq!(get(&worker, "/ready").await.status(), 200);
        }
    }
    assert_eq!(worker.seen().jobs[0].outcome, Outcome::Refused);
    let told: Value = get(&worker, "/faults").await.json().await.unwrap();
    assert_eq!(told, json!({ "status": 503, "times": 0 }));
    let unknown = client()
        .put(worker.url() + "/faults")
        .json(&json!({ "hangs": true }));
    assert_eq!(unknown.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn ready_can_hang_or_say_no_while_requests_are_served() {
    let worker = worker(Settings {
        faults: Faults {
            ready: Some(ReadyFault::Unready),
            ..Faults::default()
        },
        ..settings()
    });
    assert_eq!(get(&worker, "/ready").await.status(), 503);
    worker.set_faults(Faults {
        ready: Some(ReadyFault::Hang),
        ..Faults::default()
    });
    assert!(
        tokio::time::timeout(SILENCE, get(&worker, "/ready"))
            .await
            .is_err()
    );
    assert_eq!(ask(&worker, "j", 1).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn connections_are_refused_for_a_while_and_running_ones_end() {
    let worker = worker(Settings {
        rate: 0.001,
        ..settings()
    });
    let running = ask(&worker, "j", 2).send().await.unwrap();
    let refuse = json!({ "refuse_ms": 500 });
    let set = client()
        .put(worker.url() + "/faults")
        .json(&refuse)
        .send()
        .await
        .unwrap();
    assert_eq!(set.status(), 204);
    assert!(running.bytes().await.is_err());
    let refused = client()
        .get(worker.url() + "/health")
        .send()
        .await
        .unwrap_err();
    assert!(refused.is_connect(), "{refused:?}");
    let until = Instant::now() + crate::support::PATIENCE;
    while client().get(worker.url() + "/health").send().await.is_err() {
        assert!(Instant::now() < until);
    }
    assert_eq!(worker.seen().jobs[0].outcome, Outcome::Disconnected);
}

#[tokio::test]
async fn connections_may_be_taken_slowly() {
    let worker = worker(settings());
    worker.set_faults(Faults {
        accept_ms: Some(200),
        ..Faults::default()
    });
    let begun = Instant::now();
    assert_eq!(get(&worker, "/health").await.status(), 200);
    assert!(begun.elapsed() >= Duration::from_millis(200));
}
