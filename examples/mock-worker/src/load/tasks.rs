//! Tasks that are submitted to a long queue, and cancelled on their workers.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::client::{Client, Connection};
use crate::leave::{noticed_within, now};
use crate::tally::spread;

/// Submits until all `workers` have a task and `queued` wait; then, so many `times`, submits one and cancels the one that
/// has run longest, so that the queue stays as long. Each worker has one slot, and tasks do not end by themselves.
pub async fn run(
    client: Client,
    times: usize,
    queued: usize,
    workers: &[SocketAddr],
) -> anyhow::Result<Value> {
    let mut connection = client.connect().await?;
    let mut number = 0;
    let mut submit = async |connection: &mut Connection| {
        number += 1;
        submit(&client, connection, number).await
    };
    let mut tasks = VecDeque::new();
    for _ in 0..workers.len() + queued {
        tasks.push_back(submit(&mut connection).await?);
    }
    let (mut submissions, mut cancelled) = (Vec::new(), HashMap::new());
    for _ in 0..times {
        let began = Instant::now();
        tasks.push_back(submit(&mut connection).await?);
        submissions.push(began.elapsed().as_secs_f64() * 1e3);
        let (id, prompt) = tasks.pop_front().context("no task is left")?;
        // A worker that has just begun is not cancelled before it knows of it.
        cancelled.insert(prompt, now()?);
        let path = format!("/v2/tasks/{id}/cancel");
        read(
            client
                .post(&mut connection, &path, Vec::new().into())
                .await?,
        )
        .await?;
    }
    let noticed = noticed_within(&cancelled, workers).await?;
    Ok(json!({
        "asked": times,
        "submit_ms": spread(&submissions),
        "cancelled": noticed.len(),
        "cancel_ms": spread(&noticed),
    }))
}

/// The id of a task, and its prompt.
async fn submit(
    client: &Client,
    connection: &mut Connection,
    number: usize,
) -> anyhow::Result<(String, String)> {
    let prompt = format!("task-{}-{number}", now()?);
    let body = json!({
        "model": client.model,
        "messages": [{ "role": "user", "content": prompt }],
        "max_tokens": client.tokens,
    });
    let body = body.to_string().into();
    let accepted = read(client.post(connection, "/v2/tasks", body).await?).await?;
    let id = accepted["job_id"].as_str();
    let id = id.with_context(|| format!("no job_id in {accepted}"))?;
    Ok((id.to_owned(), prompt))
}

async fn read(response: hyper::Response<hyper::body::Incoming>) -> anyhow::Result<Value> {
    let body = response.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body).unwrap_or_default())
}
