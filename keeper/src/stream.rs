//! Asks a worker over HTTP and reads its streams.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pool_core::name::ModelId;
use pool_core::serving::{
    Answer, CancelRequest, ErrorBody, ExecuteRequest, Frame, Health, SseParser, StreamCheck,
    StreamEvent, StreamFault,
};
use pool_core::supply::Secret;
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::transport::Forward;

/// A worker that can be asked.
#[derive(Debug, Clone)]
pub struct Asked {
    client: reqwest::Client,
    origin: String,
    token: Option<Secret>,
}

/// A stream that is being read.
#[derive(Debug)]
pub struct Stream {
    response: Response,
    parser: SseParser,
    check: StreamCheck,
    /// Frames that came and were not looked at.
    frames: std::vec::IntoIter<Frame>,
}

/// What may come next.
#[derive(Debug, Clone, PartialEq)]
pub struct NextToken {
    /// Empty where the model ends there.
    pub text: String,
    /// Natural logarithms of probabilities.
    pub top: BTreeMap<String, f64>,
}

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// How long `/ready` may take.
const READY: Duration = Duration::from_secs(2);
/// A stream that is alive says something more often, if only a comment.
const SILENCE: Duration = Duration::from_secs(40);
/// As many as the protocol allows to ask for.
const LIKELIEST: u32 = 5;

/// Why a stream is not followed to a good end.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("{0}")]
    Lost(String),
    #[error(transparent)]
    Fault(#[from] StreamFault),
}

impl Asked {
    /// A worker that is reached so, with this token where it may ask for one.
    pub fn new(worker: &Forward, token: Option<Secret>) -> Result<Self, Failure> {
        let builder = reqwest::Client::builder().no_proxy();
        let builder = builder.connect_timeout(CONNECT).read_timeout(SILENCE);
        let (builder, origin) = match worker {
            Forward::Tcp(address) => (builder, format!("http://{address}")),
            Forward::Unix(path) => (
                builder.unix_socket(path.as_path()),
                "http://localhost".into(),
            ),
        };
        let client = builder.build().map_err(|error| lost(&error))?;
        Ok(Self {
            client,
            origin,
            token,
        })
    }

    /// Sends the request, and hands on each piece of the answer as it comes. A stream that is cut is an error.
    pub async fn ask(
        &self,
        request: &ExecuteRequest,
        mut on_text: impl FnMut(&str),
    ) -> Result<Answer, Failure> {
        let mut stream = self.begin(request).await?;
        loop {
            match stream.next().await {
                Ok(Some(StreamEvent::Token { t, .. })) => on_text(&t),
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(broken) => return Err(broken.into()),
            }
        }
        stream
            .finish()
            .map_err(|fault| Failure::new(fault.to_string()))
    }

    /// Sends the request, and returns when its stream begins.
    pub async fn begin(&self, request: &ExecuteRequest) -> Result<Stream, Failure> {
        let response = self.send(self.post("/execute").json(request)).await?;
        Ok(Stream {
            response,
            parser: SseParser::default(),
            check: StreamCheck::default(),
            frames: Vec::new().into_iter(),
        })
    }

    /// Ends the request with this id, if it runs.
    pub async fn cancel(&self, job_id: &str) -> Result<(), Failure> {
        let job_id = job_id.to_owned();
        let request = self.post("/cancel").json(&CancelRequest { job_id });
        self.send(request).await.map(drop)
    }

    /// What it says of itself.
    pub async fn health(&self) -> Result<Health, Failure> {
        let response = self.send(self.get("/health")).await?;
        response.json().await.map_err(|error| lost(&error))
    }

    /// Returns once it serves; why it does not after so long.
    pub async fn ready_within(&self, patience: Duration) -> Result<(), Failure> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let ask = self.get("/ready").timeout(left.max(READY));
            match self.send(ask).await {
                Ok(_) => return Ok(()),
                Err(failure) if Instant::now() >= until => return Err(failure),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// The likeliest tokens after a text with their log-probabilities, and the text of the first of them: greedy, without
    /// the chat template.
    pub async fn next_token(&self, model: &ModelId, text: &str) -> Result<NextToken, Failure> {
        let body = json!({
            "model": model, "prompt": text, "max_tokens": 1, "temperature": 0, "logprobs": LIKELIEST,
        });
        let request = self.post("/v1/completions").json(&body);
        let response = self.send(request).await?;
        let answer: Value = response.json().await.map_err(|error| lost(&error))?;
        let text = answer.pointer("/choices/0/text").and_then(Value::as_str);
        let top = answer.pointer("/choices/0/logprobs/top_logprobs/0");
        let top = top.and_then(|top| serde_json::from_value(top.clone()).ok());
        match (text, top) {
            (Some(text), Some(top)) => Ok(NextToken {
                text: text.to_owned(),
                top,
            }),
            // There are none where the model ends.
            (Some(""), None) => Ok(NextToken {
                text: String::new(),
                top: BTreeMap::new(),
            }),
            _ => Err(Failure::new("the worker tells no log-probabilities")),
        }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.origin))
    }

    fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.origin))
    }

    async fn send(&self, mut request: RequestBuilder) -> Result<Response, Failure> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        let response = request.send().await.map_err(|error| lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body = response.bytes().await.map_err(|error| lost(&error))?;
        Err(refusal(status, &body))
    }
}

impl Stream {
    /// What it says next; none once it has ended.
    pub async fn next(&mut self) -> Result<Option<StreamEvent>, Broken> {
        loop {
            if let Some(frame) = self.frames.next() {
                return Ok(Some(self.check.frame(&frame)?));
            }
            let came = self.response.chunk().await;
            match came.map_err(|error| Broken::Lost(cause(&error)))? {
                Some(bytes) => self.frames = self.parser.push(&bytes).into_iter(),
                None => return Ok(None),
            }
        }
    }

    /// Judges it, once it has ended.
    pub fn finish(self) -> Result<Answer, StreamFault> {
        self.check.finish()
    }
}

impl From<Broken> for Failure {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Lost(cause) => gone(&cause),
            Broken::Fault(fault) => Self::new(fault.to_string()),
        }
    }
}

fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn lost(error: &reqwest::Error) -> Failure {
    gone(&cause(error))
}

fn gone(cause: &str) -> Failure {
    Failure::new(format!("the worker does not answer: {cause}"))
        .help("`rbee status` shows the workers that do")
        .exit(Exit::UNREACHABLE)
}

fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    let Ok(ErrorBody { error }) = serde_json::from_slice(body) else {
        return Failure::new(format!("the worker answers {status}"));
    };
    // It says what its details say one by one.
    Failure::new(format!("the worker refuses: {}", error.message))
}
