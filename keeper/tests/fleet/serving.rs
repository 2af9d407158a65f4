//! Processes that die while they serve: each task ends as the contract says, and the fleet goes on.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::door::{Door, LONG, endless, eventually, pid_of};
use super::orchestrator::{HERE, at, free, pid};
use super::{Desk, end, send};

/// A fleet on this machine whose orchestrator listens there, with a model that answers without end.
async fn serving(desk: &Desk, listen: SocketAddr, worker: &str, workers: usize) -> Door {
    endless(desk);
    desk.write(&format!(
        "version: 1\nfleet: test\n{}pools:\n{HERE}models:\n  tiny: {{ source: ./model }}\n\
         workers:\n  chat: {{ model: tiny, on: [here/cpu], {worker} }}\n",
        at("here", listen, "")
    ));
    desk.rbee(&["apply", "--yes"]).exits(0);
    let door = Door::of(&desk.home(), listen);
    door.ready(workers).await;
    door
}

/// A prompt that takes a while to be read.
fn long_prompt() -> String {
    "What is the capital of France? ".repeat(300)
}

/// The last `data:` of a stream of OpenAI's, in which nothing follows an error.
fn last_of(stream: &str) -> Value {
    assert!(stream.ends_with("\n\n") && !stream.contains("[DONE]"));
    let mut data = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let last: Value = serde_json::from_str(data.next_back().unwrap()).unwrap();
    assert!(data.all(|data| !data.starts_with("{\"error\"")));
    last
}

#[tokio::test]
async fn an_answer_whose_worker_is_killed_ends_with_an_error_and_others_go_on_elsewhere() {
    let desk = Desk::new();
    let door = serving(&desk, free(), "replicas: 2", 2).await;
    let id = door.submit(json!({"max_tokens": LONG})).await;
    let mut events = door.events(&id, None).await;
    events.until_token().await;
    let killed = door.worker_of(&id).await;
    end(pid_of(&desk.home(), &killed));
    let (said, last) = events.told().await;
    assert!(!said.is_empty());
    assert_eq!(
        (&last["type"], &last["code"]),
        (&json!("error"), &json!("INTERNAL"))
    );
    assert_eq!(last["message"], "the stream of the worker was cut");
    assert_eq!(door.state(&id).await["status"], "failed");
    assert_eq!(
        door.events(&id, None).await.told().await,
        (said, last),
        "it ends the same for whoever comes later"
    );
    let other = door.serves().await;
    assert_ne!(other, killed);
    door.finds(&killed, "unreachable").await;
    assert_eq!(door.serves().await, other);

    // So it is in OpenAI's stream.
    let mut stream = door.chat("Sing for ever.", LONG).await;
    let first = stream.chunk().await.unwrap().unwrap();
    end(pid_of(&desk.home(), &other));
    let stream = [&first[..], &stream.bytes().await.unwrap()[..]].concat();
    let last = last_of(&String::from_utf8(stream).unwrap());
    assert_eq!(last["error"]["type"], "server_error", "{last}");
    assert_eq!(last["error"]["message"], "the stream of the worker was cut");

    // With nobody left a task waits, and an apply is all it takes.
    door.finds(&other, "unreachable").await;
    let waits = door.submit(json!({})).await;
    assert_eq!(door.state(&waits).await["status"], "queued");
    desk.rbee(&["apply", "--yes"]).exits(0).says("2 replaced");
    let (_, last) = door.events(&waits, None).await.told().await;
    assert_eq!(last["type"], "end", "{last}");
    door.ready(2).await;
}

#[tokio::test]
async fn a_task_whose_worker_is_killed_before_the_first_token_runs_elsewhere_unseen() {
    let desk = Desk::new();
    let door = serving(&desk, free(), "replicas: 2", 2).await;
    let id = door.submit(json!({"prompt": long_prompt()})).await;
    let events = door.events(&id, None).await;
    let killed = door.worker_of(&id).await;
    door.is_busy(&killed).await;
    end(pid_of(&desk.home(), &killed));
    let started = |frame: &pool_core::serving::Frame| frame.event == "started";
    let (_, last) = {
        let mut all = door.events(&id, None).await;
        all.until_token().await;
        assert_eq!(all.frames.iter().filter(|frame| started(frame)).count(), 1);
        events.told().await
    };
    assert_eq!(
        (&last["type"], &last["tokens_out"]),
        (&json!("end"), &json!(4)),
        "{last}"
    );
    let state = door.state(&id).await;
    assert_eq!(state["attempts"], 2);
    assert_ne!(state["worker"], killed);
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 replaced");
    door.ready(2).await;

    let prompt = long_prompt();
    let stream = door.chat(&prompt, 4);
    let strike = async {
        let mut busy = Value::Null;
        eventually("a worker has the request", async || {
            let known = door.get("/v2/workers").await;
            let mut known = known["workers"].as_array().unwrap().iter();
            busy = known
                .find(|worker| worker["running"] == 1)
                .map_or(Value::Null, |worker| worker["id"].clone());
            busy.is_string()
        })
        .await;
        let busy = busy.as_str().unwrap();
        door.is_busy(busy).await;
        end(pid_of(&desk.home(), busy));
    };
    let (stream, ()) = tokio::join!(stream, strike);
    assert_eq!(stream.status(), 200);
    let stream = stream.text().await.unwrap();
    assert!(stream.ends_with("data: [DONE]\n\n"), "{stream}");
    assert_eq!(stream.matches("\"finish_reason\":\"length\"").count(), 1);
    assert!(!stream.contains("error"), "{stream}");
}

#[tokio::test]
async fn a_task_whose_worker_stands_still_runs_elsewhere_and_the_worker_serves_when_it_goes_on() {
    let desk = Desk::new();
    let door = serving(&desk, free(), "replicas: 2", 2).await;
    let id = door.submit(json!({"prompt": long_prompt()})).await;
    let stopped = door.worker_of(&id).await;
    door.is_busy(&stopped).await;
    let process = pid_of(&desk.home(), &stopped);
    send("STOP", process);
    door.finds(&stopped, "unreachable").await;
    assert_ne!(door.serves().await, stopped);
    let (_, last) = door.events(&id, None).await.told().await;
    assert_eq!(last["type"], "end", "{last}");
    let state = door.state(&id).await;
    assert_eq!(state["attempts"], 2);
    assert_ne!(state["worker"], stopped);

    send("CONT", process);
    door.ready(2).await;
    let other = state["worker"].as_str().unwrap();
    let drain = json!({"worker": other, "drained": true});
    assert_eq!(door.post("/v2/workers/drain", drain).await.status(), 204);
    assert_eq!(door.serves().await, stopped);
}

#[tokio::test]
async fn an_orchestrator_that_is_killed_and_started_again_ends_what_had_begun_and_runs_the_rest() {
    let desk = Desk::new();
    let listen = free();
    let door = serving(&desk, listen, "slots: 2", 1).await;
    let begun = door.submit(json!({"max_tokens": LONG})).await;
    let mut events = door.events(&begun, None).await;
    events.until_token().await;
    let mut stream = door.chat("Sing for ever.", LONG).await;
    stream.chunk().await.unwrap().unwrap();
    // No slot is left for it.
    let waits = door.submit(json!({})).await;
    assert_eq!(door.state(&waits).await["status"], "queued");
    let worker = pid_of(&desk.home(), "chat/here/cpu/0");
    end(pid(&desk.home()));
    events.until_broken().await;
    let mut chunk = stream.chunk().await;
    while let Ok(Some(bytes)) = chunk {
        assert!(!bytes.ends_with(b"data: [DONE]\n\n"));
        chunk = stream.chunk().await;
    }
    assert!(chunk.is_err(), "it ends as if it were whole");

    desk.rbee(&["status"])
        .exits(1)
        .says("dead: the orchestrator on here");
    desk.rbee(&["apply", "--yes"]).exits(0).says("1 spawned");
    let seen = events.frames.len();
    let (_, last) = door.events(&begun, Some(seen - 1)).await.told().await;
    assert_eq!(
        (&last["type"], &last["retriable"]),
        (&json!("error"), &json!(true))
    );
    let message = "the orchestrator was restarted in the middle of the answer";
    assert_eq!(last["message"], message);
    let (said, _) = door.events(&begun, None).await.told().await;
    let tokens = events.frames.iter().filter(|frame| frame.event == "token");
    let text = |data: &str| {
        let data: Value = serde_json::from_str(data).unwrap();
        data["t"].as_str().unwrap().to_owned()
    };
    let seen: String = tokens.map(|frame| text(&frame.data)).collect();
    assert!(said.starts_with(&seen) && !seen.is_empty());
    assert_eq!(door.state(&begun).await["status"], "failed");

    let (_, last) = door.events(&waits, None).await.told().await;
    assert_eq!(
        (&last["type"], &last["tokens_out"]),
        (&json!("end"), &json!(4)),
        "{last}"
    );
    assert_eq!(pid_of(&desk.home(), "chat/here/cpu/0"), worker);
    desk.rbee(&["plan", "--detailed-exitcode"]).exits(0);
}
