//! The daemon as a process, and what tests ask of it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use mock_worker::{MockWorker, Settings};
use pool_core::serving::{Frame, SseParser};
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

/// Nothing here takes as long.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn worker(id: &str) -> MockWorker {
    worker_with(id, |_| {})
}

pub fn worker_with(id: &str, change: impl FnOnce(&mut Settings)) -> MockWorker {
    let mut settings = Settings::new(id.parse().unwrap(), "tiny".parse().unwrap());
    settings.rate = 500.0;
    change(&mut settings);
    MockWorker::start(settings).unwrap()
}

/// `orchestratord`, killed when dropped.
pub struct Daemon {
    child: Child,
    pub url: String,
    token: Option<String>,
}

impl Daemon {
    /// With workers that do not register by themselves, once it found all of them ready.
    pub async fn before(workers: &[&MockWorker], args: &[&str]) -> Self {
        let urls: Vec<String> = workers.iter().map(|worker| worker.url()).collect();
        let mut all: Vec<&str> = urls.iter().flat_map(|url| ["--worker", url]).collect();
        all.extend(args);
        let daemon = Self::start(&all);
        daemon.ready(workers.len()).await;
        daemon
    }

    pub fn start(args: &[&str]) -> Self {
        Self::launch(Command::new(env!("CARGO_BIN_EXE_orchestratord")), args)
    }

    /// By a command that becomes the daemon.
    pub fn launch(mut command: Command, args: &[&str]) -> Self {
        command.args(["--listen", "127.0.0.1:0", "--probe-interval", "0.1"]);
        command.args(args).env("RUST_LOG", "info");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let url = loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("it does not listen: {said}");
            };
            if let Some((_, address)) = line.split_once("address=") {
                break format!("http://{}", address.trim());
            }
            said += &line;
        };
        // Its log goes where the test's own does.
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = writeln!(std::io::stderr(), "{line}");
            }
        });
        Self {
            child,
            url,
            token: None,
        }
    }

    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Some(token.to_owned());
        self
    }

    /// Waits until so many workers are ready.
    pub async fn ready(&self, workers: usize) {
        eventually("the workers are ready", async || {
            let found = self.json(Method::GET, "/v2/workers", None).await;
            let found = found["workers"].as_array().cloned().unwrap_or_default();
            let ready = found.iter().filter(|worker| worker["condition"] == "ready");
            ready.count() == workers
        })
        .await;
    }

    pub async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Response {
        let mut request = client().request(method, format!("{}{path}", self.url));
        if let Some(body) = body {
            request = request.json(body);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        self.send(method, path, body).await.json().await.unwrap()
    }

    /// Submits a task and returns its id.
    pub async fn submit(&self, more: Value) -> String {
        let answer = self
            .send(Method::POST, "/v2/tasks", Some(&task(more)))
            .await;
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        let accepted: Value = answer.json().await.unwrap();
        accepted["job_id"].as_str().unwrap().to_owned()
    }

    /// The events of a task after one of them, to its end.
    pub async fn events(&self, id: &str, after: Option<u64>) -> Vec<Frame> {
        let mut request = client().get(format!("{}/v2/tasks/{id}/events", self.url));
        if let Some(after) = after {
            request = request.header("last-event-id", after);
        }
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        SseParser::default().push(&answer.bytes().await.unwrap())
    }

    pub async fn state(&self, id: &str) -> Value {
        self.json(Method::GET, &format!("/v2/tasks/{id}"), None)
            .await
    }

    /// Waits for a state of a task.
    pub async fn is(&self, id: &str, status: &str) {
        let what = format!("the task is {status}");
        eventually(&what, async || self.state(id).await["status"] == status).await;
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.args([format!("-{name}"), self.child.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn exit_code(mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn client() -> Client {
    Client::builder()
        .no_proxy()
        .timeout(PATIENCE)
        .build()
        .unwrap()
}

/// A task of some tokens.
pub fn task(more: Value) -> Value {
    let mut body = json!({"model": "tiny", "prompt": "Say it.", "max_tokens": 16});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

pub fn store(folder: &Path) -> [&str; 4] {
    ["--store", "sqlite", "--home", folder.to_str().unwrap()]
}

pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "never: {what}");
}

/// The text of the tokens; ids must come without a gap, tokens in their order, one terminal event at the end.
pub fn whole(frames: &[Frame]) -> (String, Value) {
    let mut text = String::new();
    let mut tokens = 0;
    for (place, frame) in frames.iter().enumerate() {
        assert_eq!(frame.id.as_deref(), Some(place.to_string().as_str()));
        let data: Value = serde_json::from_str(&frame.data).unwrap();
        assert_eq!(data["type"], frame.event);
        let is_last = place + 1 == frames.len();
        assert_eq!(["end", "error"].contains(&frame.event.as_str()), is_last);
        if frame.event == "token" {
            assert_eq!(data["i"], tokens);
            tokens += 1;
            text += data["t"].as_str().unwrap();
        }
    }
    let last = serde_json::from_str(&frames.last().unwrap().data).unwrap();
    (text, last)
}

/// What a mock worker says in so many tokens.
pub fn text(tokens: u64) -> String {
    mock_worker::text_of(tokens, 4)
}
