//! Asking a worker over HTTP whether it serves.

use std::net::SocketAddr;
use std::time::Duration;

use pool_core::observation::WorkerHealth;
use pool_core::rpc::{ErrorCode, HiveError};
use pool_core::serving::{
    ErrorBody, ExecuteRequest, Health, Input, Message, Ready, Sampling, SseParser, StreamCheck,
    StreamFault,
};
use pool_core::supply::Secret;
use pool_core::worker::{Canary, WorkerRecord};
use reqwest::{Client, StatusCode};

/// How long a worker may take to answer a question that needs no inference: long enough for a machine that is very busy, since
/// a worker that does not answer is replaced.
const PROBE: Duration = Duration::from_secs(5);

/// The client for workers: no proxy stands between a hive and its own machine, and no certificate is read, of which a
/// system has hundreds.
pub fn client() -> crate::error::Result<Client> {
    let client = Client::builder().no_proxy().connect_timeout(PROBE);
    let client = client.tls_certs_only([]).build();
    client.map_err(|e| HiveError {
        code: ErrorCode::Io,
        message: format!("cannot speak HTTP: {}", chain(&e)),
        help: None,
    })
}

fn url(listen: SocketAddr, path: &str) -> String {
    format!("http://{listen}{path}")
}

/// Whether `/ready` says yes just now, and what `/health` says; both are asked at once.
pub async fn probe(client: &Client, record: &WorkerRecord) -> (bool, Option<WorkerHealth>) {
    let get = |path: &str| client.get(url(record.listen, path)).timeout(PROBE).send();
    let health = async {
        let health: Health = get("/health").await.ok()?.json().await.ok()?;
        // Another server may have the port of one that is gone.
        (health.worker_id == record.id).then_some(WorkerHealth {
            slots: health.slots,
            memory: health.memory.total,
            us_per_token: health.us_per_token,
        })
    };
    let (ready, health) = tokio::join!(get("/ready"), health);
    let answers = ready.is_ok_and(|answer| answer.status() == StatusCode::OK);
    (answers, health)
}

/// What a worker that is starting says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reported {
    /// Nothing, or another server has the port.
    Nothing,
    Loading(Option<u8>),
    /// It takes so many bytes of its device.
    Ready(u64),
}

/// Asks the worker of a record how far it is.
pub async fn ask(client: &Client, record: &WorkerRecord) -> Reported {
    let get = |path: &str| client.get(url(record.listen, path)).timeout(PROBE).send();
    let Ok(answer) = get("/ready").await else {
        return Reported::Nothing;
    };
    if answer.status() != StatusCode::OK {
        let ready: Option<Ready> = answer.json().await.ok();
        return Reported::Loading(ready.and_then(|ready| ready.percent));
    }
    let health = match get("/health").await {
        Ok(answer) => answer.json::<Health>().await.ok(),
        Err(_) => None,
    };
    match health {
        Some(health) if health.worker_id == record.id => Reported::Ready(health.memory.total),
        _ => Reported::Nothing,
    }
}

/// Why a test request was not answered.
#[derive(Debug)]
pub enum Unanswered {
    /// The worker has no place for it just now.
    Busy,
    /// It does not take such a request.
    Refused(String),
    /// The request or its answer broke off.
    Broken(String),
    /// What it answered is not the right answer, or none.
    Wrong(String),
}

impl std::fmt::Display for Unanswered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy => f.write_str("the worker is busy"),
            Self::Refused(reason) => write!(f, "it was refused: {reason}"),
            Self::Broken(reason) | Self::Wrong(reason) => f.write_str(reason),
        }
    }
}

/// Has a real request answered; `token` is that of its fleet, which a worker that others reach asks for.
pub async fn canary(
    client: &Client,
    record: &WorkerRecord,
    canary: &Canary,
    token: Option<&Secret>,
) -> Result<(), Unanswered> {
    let chat = Input::Messages(vec![Message {
        role: "user".into(),
        content: canary.prompt.clone(),
    }]);
    let got = match execute(client, record, chat, canary.max_tokens, token).await {
        // A model without a chat template takes no messages.
        Err(Unanswered::Refused(_)) => {
            let prompt = Input::Prompt(canary.prompt.clone());
            execute(client, record, prompt, canary.max_tokens, token).await?
        }
        answered => answered?,
    };
    match canary.expect.as_deref().map(str::trim) {
        Some(expected) if !got.contains(expected) => Err(Unanswered::Wrong(format!(
            "asked {:?}, it answered {got:?}, which does not hold {expected:?}",
            canary.prompt
        ))),
        _ => Ok(()),
    }
}

/// The text of the answer, which is never empty.
async fn execute(
    client: &Client,
    record: &WorkerRecord,
    input: Input,
    max_tokens: u32,
    token: Option<&Secret>,
) -> Result<String, Unanswered> {
    let request = ExecuteRequest {
        job_id: format!("canary-{}", crate::random_hex()),
        input,
        max_tokens: Some(max_tokens),
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        cache_salt: None,
    };
    let broken = |e: reqwest::Error| Unanswered::Broken(chain(&e));
    let mut send = client.post(url(record.listen, "/execute")).json(&request);
    if let Some(token) = token {
        send = send.bearer_auth(token.expose());
    }
    let mut answer = send.send().await.map_err(broken)?;
    let status = answer.status();
    if status != StatusCode::OK {
        let message = match answer.json::<ErrorBody>().await {
            Ok(body) if body.error.retriable => return Err(Unanswered::Busy),
            Ok(body) => body.error.message,
            Err(_) => status.to_string(),
        };
        return Err(match status {
            StatusCode::BAD_REQUEST => Unanswered::Refused(message),
            _ => Unanswered::Broken(message),
        });
    }
    let mut parser = SseParser::default();
    let mut check = StreamCheck::default();
    let faulty = |e: StreamFault| match e {
        StreamFault::Failed(_) | StreamFault::Cut => Unanswered::Broken(e.to_string()),
        _ => Unanswered::Wrong(e.to_string()),
    };
    while let Some(bytes) = answer.chunk().await.map_err(broken)? {
        for frame in parser.push(&bytes) {
            check.frame(&frame).map_err(faulty)?;
        }
    }
    let answer = check.finish().map_err(faulty)?;
    match answer.pieces {
        0 => Err(Unanswered::Wrong("its answer has no text".to_owned())),
        _ => Ok(answer.text),
    }
}

/// An error with its causes: reqwest's own text leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
