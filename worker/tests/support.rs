//! What the tests share: models made from the tiny one, a worker inside this process, the real binary.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use pool_core::launch::WorkerLaunch;
use pool_core::serving::{Answer, Frame, Health, SseParser, StreamCheck, StreamEvent, StreamFault};
use pool_core::weights::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use worker::model::{Model, ModelError, Options};
use worker::server::{Settings, WorkerError, bind, serve};

/// No wait of a test takes longer; a worker that hangs fails the test.
const LIMIT: Duration = Duration::from_mins(1);

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future)
        .await
        .expect("it takes too long")
}

pub fn tiny() -> PathBuf {
    examples().join("tiny-llama")
}

pub fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models")
}

pub fn read_json(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A copy of the tiny model to change.
pub struct Folder(pub TempDir);

impl Folder {
    pub fn copy() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(tiny()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        Self(dir)
    }

    /// A model that never ends its answer and has room for a very long one.
    pub fn endless() -> Self {
        let folder = Self::copy();
        folder.edit("config.json", |config| {
            config["max_position_embeddings"] = json!(20_000);
            config["eos_token_id"] = Value::Null;
        });
        folder.edit("generation_config.json", |config| {
            config["eos_token_id"] = Value::Null;
        });
        folder.edit("tokenizer_config.json", |config| {
            config["eos_token"] = Value::Null;
        });
        folder
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn edit(&self, file: &str, change: impl FnOnce(&mut Value)) {
        let mut json = read_json(self.file(file));
        change(&mut json);
        std::fs::write(self.file(file), json.to_string()).unwrap();
    }
}

/// A file with one token, as the worker wants it.
pub fn token_file(token: &str) -> tempfile::NamedTempFile {
    // Readable by its owner only, as all files of `tempfile` are.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), token).unwrap();
    file
}

pub fn launch(model_dir: &Path) -> WorkerLaunch {
    WorkerLaunch {
        worker_id: "w-1".parse().unwrap(),
        model: "tiny".parse().unwrap(),
        model_dir: model_dir.to_owned(),
        model_digest: None,
        device: "cpu".parse().unwrap(),
        listen: "127.0.0.1:0".parse().unwrap(),
        slots: 4,
        context: None,
        dtype: Dtype::Auto,
        quantize: None,
        token_file: None,
        address: None,
        fleet: None,
        link_file: None,
        aside: false,
        traces: None,
    }
}

/// A worker inside this process, on a port of its own.
pub struct Server {
    pub client: Client,
    shutdown: Option<oneshot::Sender<()>>,
    end: JoinHandle<Result<(), WorkerError>>,
}

impl Server {
    /// Starts and waits until it is ready.
    pub async fn start(launch: WorkerLaunch, settings: Settings) -> Self {
        let server = Self::start_loading(launch, settings).await;
        server.client.until_ready().await;
        server
    }

    pub async fn start_loading(launch: WorkerLaunch, settings: Settings) -> Self {
        let options = Options::from(&launch);
        Self::start_with(launch, settings, move |progress| {
            Model::load(&options, progress)
        })
        .await
    }

    /// Starts with a model that `load` brings.
    #[allow(clippy::unused_async, reason = "one is started and waited for alike")]
    pub async fn start_with(
        launch: WorkerLaunch,
        settings: Settings,
        load: impl FnOnce(&dyn Fn(u8)) -> Result<Model, ModelError> + Send + 'static,
    ) -> Self {
        let listener = bind(&launch, &settings.tokens).unwrap();
        let client = Client::new(&listener.local_addr().unwrap().to_string());
        let (shutdown, asked) = oneshot::channel();
        // Without a word of the test the worker runs until the test is over.
        let asked = async {
            if asked.await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let end = tokio::spawn(serve(listener, launch, settings, asked, load));
        Self {
            client,
            shutdown: Some(shutdown),
            end,
        }
    }

    pub async fn tiny() -> Self {
        Self::start(launch(&tiny()), Settings::default()).await
    }

    pub fn shut_down(&mut self) {
        let _ = self.shutdown.take().unwrap().send(());
    }

    pub async fn ended(self) -> Result<(), WorkerError> {
        within(self.end).await.unwrap()
    }
}

/// The real binary.
pub struct Binary {
    pub child: Child,
    /// The lines of its log, read as they come: no worker waits for room to write one.
    log: mpsc::Receiver<String>,
}

impl Binary {
    pub fn spawn(args: &[&str]) -> Self {
        Self::spawn_with(args, &[])
    }

    pub fn spawn_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        Self::of(
            Path::new(env!("CARGO_BIN_EXE_llm-worker-rbee")),
            args,
            variables,
        )
    }

    /// Starts another build of the worker.
    pub fn of(program: &Path, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(program)
            .args(args)
            .env_remove("RUST_LOG")
            .env_remove(http_front::tokens::VARIABLE)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            lines
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        Self { child, log }
    }

    pub fn serve(model_dir: &Path) -> (Self, Client) {
        Self::serve_with(model_dir, &[])
    }

    /// Starts on a port of its own and waits until it is ready.
    pub fn serve_with(model_dir: &Path, more: &[&str]) -> (Self, Client) {
        let model_dir = model_dir.to_str().unwrap();
        let mut args = vec!["--model-dir", model_dir, "--listen", "127.0.0.1:0"];
        args.extend(more);
        Self::spawn(&args).ready()
    }

    /// Waits until it is ready.
    pub fn ready(mut self) -> (Self, Client) {
        let line = self.line_with("address=");
        let (_, address) = line.split_once("address=").unwrap();
        let client = Client::new(address.split_whitespace().next().unwrap());
        self.line_with("ready");
        (self, client)
    }

    /// Waits for a line of the log.
    pub fn line_with(&mut self, words: &str) -> String {
        self.log
            .iter()
            .find(|line| line.contains(words))
            .unwrap_or_else(|| panic!("the worker ended before it said {words:?}"))
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", name, &pid])
                .status()
                .unwrap()
                .success()
        );
    }

    /// Waits for the end; returns the exit code and the rest of the log.
    pub fn ended(mut self) -> (Option<i32>, String) {
        let lines: Vec<String> = self.log.iter().collect();
        let log = lines.join("\n");
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Speaks to one worker.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
}

impl Client {
    pub fn new(address: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let base = format!("http://{address}");
        Self { http, base }
    }

    /// Shows a token with every request.
    pub fn with_token(&self, token: &str) -> Self {
        let mut headers = reqwest::header::HeaderMap::new();
        headers.insert("Authorization", format!("Bearer {token}").parse().unwrap());
        let http = reqwest::Client::builder()
            .no_proxy()
            .default_headers(headers);
        Self {
            http: http.build().unwrap(),
            base: self.base.clone(),
        }
    }

    /// Where the worker listens.
    pub fn address(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub async fn get(&self, path: &str) -> reqwest::Response {
        within(self.http.get(format!("{}{path}", self.base)).send())
            .await
            .unwrap()
    }

    pub async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        self.post_text(path, body.to_string()).await
    }

    pub async fn post_text(&self, path: &str, body: String) -> reqwest::Response {
        within(
            self.http
                .post(format!("{}{path}", self.base))
                .header("Content-Type", "application/json")
                .body(body)
                .send(),
        )
        .await
        .unwrap()
    }

    pub fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub async fn health(&self) -> Health {
        self.get("/health").await.json().await.unwrap()
    }

    /// Asks again until the answer is right; each question waits for the worker.
    pub async fn until(&self, path: &str, right: impl Fn(u16, &Value) -> bool) {
        within(async {
            loop {
                let response = self.get(path).await;
                let status = response.status().as_u16();
                if right(status, &response.json().await.unwrap()) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub async fn until_ready(&self) {
        self.until("/ready", |status, _| status == 200).await;
    }

    pub async fn until_busy(&self, slots: u32) {
        self.until("/health", |_, health| health["slots"]["busy"] == slots)
            .await;
    }

    /// Starts an answer.
    pub async fn execute(&self, body: &Value) -> Stream {
        let response = self.post("/execute", body).await;
        let status = response.status();
        assert_eq!(status, 200, "{}", response.text().await.unwrap());
        Stream::new(response)
    }

    /// Reads a whole answer.
    pub async fn answer(&self, body: &Value) -> Answer {
        self.execute(body).await.finish().await.unwrap()
    }

    pub async fn cancel(&self, job_id: &str) {
        let response = self.post("/cancel", &json!({"job_id": job_id})).await;
        assert_eq!(response.status(), 202);
    }
}

/// A stream that is being read. Dropping it is what a client does that leaves.
pub struct Stream {
    response: reqwest::Response,
    parser: SseParser,
    check: StreamCheck,
    frames: std::collections::VecDeque<Frame>,
}

impl Stream {
    fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            parser: SseParser::default(),
            check: StreamCheck::default(),
            frames: std::collections::VecDeque::new(),
        }
    }

    /// The next event; none at the end of the connection.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, StreamFault> {
        while self.frames.is_empty() {
            match self.chunk().await {
                Some(bytes) => self.frames.extend(self.parser.push(&bytes)),
                None => return Ok(None),
            }
        }
        self.check
            .frame(&self.frames.pop_front().unwrap())
            .map(Some)
    }

    /// The next bytes as they came.
    pub async fn chunk(&mut self) -> Option<Vec<u8>> {
        within(self.response.chunk())
            .await
            .unwrap()
            .map(|bytes| bytes.to_vec())
    }

    /// Reads until the first piece of the answer.
    pub async fn first_token(&mut self) {
        loop {
            match self.next().await.unwrap() {
                Some(StreamEvent::Token { .. }) => return,
                Some(event) => assert!(!event.is_terminal(), "{event:?}"),
                None => panic!("the stream ended before its first token"),
            }
        }
    }

    pub async fn finish(mut self) -> Result<Answer, StreamFault> {
        while self.next().await?.is_some() {}
        self.check.finish()
    }
}

/// A greedy request with messages.
pub fn ask(job_id: &str, question: &str) -> Value {
    json!({"job_id": job_id, "messages": [{"role": "user", "content": question}], "temperature": 0})
}

/// A request that an endless model never ends by itself.
pub fn sing(job_id: &str) -> Value {
    json!({"job_id": job_id, "prompt": "<|user|>\nSing for ever.</s>\n<|assistant|>\n", "temperature": 0})
}
