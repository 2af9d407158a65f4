//! What a client sees at the one door of a fleet: a real orchestrator before real workers.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use pool_core::serving::{Frame, SseParser};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::{Desk, tiny};

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_mins(2);

/// Tokens of an answer that nobody sees the end of.
pub const LONG: u32 = 19_000;

/// The orchestrator of the fleet `test`, and the fleet's token.
pub struct Door {
    url: String,
    token: String,
    client: Client,
}

impl Door {
    /// As a home of the fleet knows it.
    pub fn of(home: &Path, listen: SocketAddr) -> Self {
        let link = fs::read_to_string(home.join("fleets/test.json")).unwrap();
        let link: Value = serde_json::from_str(&link).unwrap();
        let client = Client::builder().no_proxy().timeout(PATIENCE);
        Self {
            url: format!("http://{listen}"),
            token: link["token"].as_str().unwrap().to_owned(),
            client: client.build().unwrap(),
        }
    }

    fn ask(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.url);
        let answer = self.ask(self.client.get(url)).send().await.unwrap();
        answer.json().await.unwrap()
    }

    pub async fn post(&self, path: &str, body: Value) -> Response {
        let url = format!("{}{path}", self.url);
        let request = self.ask(self.client.post(url)).json(&body);
        request.send().await.unwrap()
    }

    /// The workers that it knows, with what it thinks of each.
    pub async fn workers(&self) -> Vec<(String, String)> {
        let known = self.get("/v2/workers").await;
        let known = known["workers"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let told = known.map(|worker| (text(&worker["id"]), text(&worker["condition"])));
        told.collect()
    }

    /// Waits until a worker is this.
    pub async fn finds(&self, worker: &str, condition: &str) {
        let wanted = (worker.to_owned(), condition.to_owned());
        eventually(&format!("{worker} is {condition}"), async || {
            self.workers().await.contains(&wanted)
        })
        .await;
    }

    /// Waits until so many workers are ready.
    pub async fn ready(&self, count: usize) {
        eventually(&format!("{count} workers are ready"), async || {
            let workers = self.workers().await;
            workers.iter().filter(|(_, is)| is == "ready").count() == count
        })
        .await;
    }

    /// Waits until a worker says itself that it computes.
    pub async fn is_busy(&self, worker: &str) {
        let known = self.get("/v2/workers").await;
        let mut known = known["workers"].as_array().unwrap().iter();
        let found = known.find(|known| known["id"] == worker).unwrap();
        let url = format!("{}/health", found["url"].as_str().unwrap());
        eventually(&format!("{worker} is busy"), async || {
            let answer = self.ask(self.client.get(&url)).send().await.unwrap();
            let health: Value = answer.json().await.unwrap();
            health["slots"]["busy"] == 1
        })
        .await;
    }

    /// Submits a task of a few tokens, unless more is said, and returns its id.
    pub async fn submit(&self, more: Value) -> String {
        let mut body = json!({"model": "tiny", "prompt": "Sing for ever.", "max_tokens": 4});
        let all = body.as_object_mut().unwrap();
        all.extend(more.as_object().unwrap().clone());
        let answer = self.post("/v2/tasks", body).await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let accepted: Value = answer.json().await.unwrap();
        accepted["job_id"].as_str().unwrap().to_owned()
    }

    pub async fn state(&self, id: &str) -> Value {
        self.get(&format!("/v2/tasks/{id}")).await
    }

    /// Waits until a task is on a worker, and returns which.
    pub async fn worker_of(&self, id: &str) -> String {
        let mut state = Value::Null;
        eventually("a worker has the task", async || {
            state = self.state(id).await;
            state["worker"].is_string()
        })
        .await;
        state["worker"].as_str().unwrap().to_owned()
    }

    /// The events of a task after one of them.
    pub async fn events(&self, id: &str, after: Option<usize>) -> Events {
        let request = self
            .client
            .get(format!("{}/v2/tasks/{id}/events", self.url));
        let request = match after {
            Some(after) => request.header("last-event-id", after),
            None => request,
        };
        let answer = self.ask(request).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        Events {
            answer,
            parser: SseParser::default(),
            frames: Vec::new(),
            first: after.map_or(0, |after| after + 1),
        }
    }

    /// Runs a short task to its end, and returns who did it.
    pub async fn serves(&self) -> String {
        let id = self.submit(json!({})).await;
        let (_, last) = self.events(&id, None).await.told().await;
        assert_eq!(last["type"], "end", "{last}");
        self.worker_of(&id).await
    }

    /// A stream of OpenAI's.
    pub async fn chat(&self, prompt: &str, max_tokens: u32) -> Response {
        let message = json!({"role": "user", "content": prompt});
        let body = json!({"model": "tiny", "messages": [message], "max_tokens": max_tokens, "stream": true});
        self.post("/v1/chat/completions", body).await
    }
}

/// A stream of a task's events.
pub struct Events {
    answer: Response,
    parser: SseParser,
    pub frames: Vec<Frame>,
    first: usize,
}

impl Events {
    /// Takes what comes next; false at the end.
    async fn more(&mut self) -> reqwest::Result<bool> {
        let Some(chunk) = self.answer.chunk().await? else {
            return Ok(false);
        };
        self.frames.extend(self.parser.push(&chunk));
        Ok(true)
    }

    /// Reads until there is a token.
    pub async fn until_token(&mut self) {
        while !self.frames.iter().any(|frame| frame.event == "token") {
            assert!(self.more().await.unwrap(), "no token: {:?}", self.frames);
        }
    }

    /// Reads until the connection breaks, in the middle of the answer.
    pub async fn until_broken(&mut self) {
        while self.more().await.unwrap_or_default() {}
        let ends = |frame: &Frame| ["end", "error"].contains(&frame.event.as_str());
        assert!(!self.frames.iter().any(ends), "{:?}", self.frames.last());
    }

    /// Reads to the end. The text of the tokens, and the last event; ids come without a gap, tokens in their order, and
    /// what ends the task once, at the end.
    pub async fn told(mut self) -> (String, Value) {
        while self.more().await.unwrap() {}
        let (mut text, mut next) = (String::new(), None);
        for (place, frame) in self.frames.iter().enumerate() {
            let id = (self.first + place).to_string();
            assert_eq!(frame.id.as_deref(), Some(id.as_str()));
            let is_last = place + 1 == self.frames.len();
            let ends = ["end", "error"].contains(&frame.event.as_str());
            assert_eq!(ends, is_last, "{frame:?}");
            let data: Value = serde_json::from_str(&frame.data).unwrap();
            if frame.event == "token" {
                let token = data["i"].as_u64().unwrap();
                assert_eq!(token, next.unwrap_or(token));
                assert!(self.first > 0 || next.is_some() || token == 0);
                next = Some(token + 1);
                text += data["t"].as_str().unwrap();
            }
        }
        let last = self.frames.last().expect("a stream with an end");
        (text, serde_json::from_str(&last.data).unwrap())
    }
}

/// Waits for something.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !is_so().await {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Puts the tiny model into `./model`, such that it does not end an answer by itself and has room for a very long one.
pub fn endless(desk: &Desk) {
    fs::create_dir(desk.path("model")).unwrap();
    for entry in fs::read_dir(tiny()).unwrap() {
        let entry = entry.unwrap();
        let to = desk.path("model").join(entry.file_name());
        fs::copy(entry.path(), to).unwrap();
    }
    for (file, field, value) in [
        ("config.json", "max_position_embeddings", json!(20_000)),
        ("config.json", "eos_token_id", Value::Null),
        ("generation_config.json", "eos_token_id", Value::Null),
        // The chat template writes it between two messages.
        ("tokenizer_config.json", "eos_token", json!("<s>")),
    ] {
        let path = desk.path("model").join(file);
        let mut json: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        json[field] = value;
        fs::write(&path, json.to_string()).unwrap();
    }
}

/// A process that a record of a worker names.
pub fn pid_of(home: &Path, worker: &str) -> u32 {
    let records = fs::read_dir(home.join("workers")).unwrap().flatten();
    let mut found = records.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let record: Value = serde_json::from_str(&text).ok()?;
        let is_it = record["address"] == worker;
        is_it.then(|| super::recorded_pid(&entry.path())).flatten()
    });
    found.next().expect("it runs")
}
