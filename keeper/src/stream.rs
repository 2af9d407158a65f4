//! Asks a worker and reads its stream.

use pool_core::serving::{Answer, ErrorBody, ExecuteRequest, SseParser, StreamCheck, StreamEvent};
use pool_core::supply::Secret;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::transport::Forward;

/// Sends the request, with this token where the worker may ask for one, and hands on each piece of the answer as it comes. A stream that is cut is an error.
pub async fn ask(
    worker: &Forward,
    token: Option<&Secret>,
    request: &ExecuteRequest,
    mut on_text: impl FnMut(&str),
) -> Result<Answer, Failure> {
    let builder = reqwest::Client::builder().no_proxy();
    let (builder, origin) = match worker {
        Forward::Tcp(address) => (builder, format!("http://{address}")),
        Forward::Unix(path) => (
            builder.unix_socket(path.as_path()),
            "http://localhost".into(),
        ),
    };
    let lost = |error: reqwest::Error| {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(source) = cause.source() {
            cause = source;
        }
        Failure::new(format!("the worker does not answer: {cause}"))
            .help("`rbee status` shows the workers that do")
            .exit(Exit::UNREACHABLE)
    };
    let client = builder.build().map_err(lost)?;
    let mut post = client.post(format!("{origin}/execute")).json(request);
    if let Some(token) = token {
        post = post.bearer_auth(token.expose());
    }
    let mut response = post.send().await.map_err(lost)?;
    if !response.status().is_success() {
        let status = response.status();
        let body = response.bytes().await.map_err(lost)?;
        return Err(refusal(status, &body));
    }
    let mut parser = SseParser::default();
    let mut check = StreamCheck::default();
    while let Some(bytes) = response.chunk().await.map_err(lost)? {
        for frame in parser.push(&bytes) {
            let event = check
                .frame(&frame)
                .map_err(|fault| Failure::new(fault.to_string()))?;
            if let StreamEvent::Token { t, .. } = event {
                on_text(&t);
            }
        }
    }
    check
        .finish()
        .map_err(|fault| Failure::new(fault.to_string()))
}

fn refusal(status: reqwest::StatusCode, body: &[u8]) -> Failure {
    let Ok(ErrorBody { error }) = serde_json::from_slice(body) else {
        return Failure::new(format!("the worker answers {status}"));
    };
    // It says what its details say one by one.
    Failure::new(format!("the worker refuses: {}", error.message))
}
