//! The hive's side of [`pool_core::rpc`]: calls in, replies out, all calls at the same time.

mod answer;
mod command;
mod input;
mod look;
mod upload;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use pool_core::rpc::{Call, ErrorCode, Event, HiveError, Outcome, Progress, Reply, Request};
use tokio::io::{AsyncBufRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet, block_in_place};

use crate::Hive;
use crate::error::{Result, fail};
use crate::lease::Lease;
use input::{Input, Line};

pub use look::look;

/// Serves one connection, of which the greeting was said, until its input closes, says nothing for `silence` where it is watched, or nobody reads the
/// output any more.
///
/// What runs then is broken off: commands are interrupted, a worker that is starting goes on and a later
/// run takes it up. Leases end last.
pub async fn serve(
    hive: &Hive,
    input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
    silence: Duration,
) -> io::Result<()> {
    let (outbox, inbox) = mpsc::channel(64);
    let replies_to = |id| Replies {
        id,
        outbox: outbox.clone(),
    };
    let mut writer = tokio::spawn(write(inbox, output));
    let mut input = Input::new(input, silence);
    let mut leases: HashMap<u64, Lease> = HashMap::new();
    let mut calls = JoinSet::new();
    let mut running: HashMap<u64, AbortHandle> = HashMap::new();
    let read = loop {
        let line = tokio::select! {
            line = input.line() => line,
            _ = &mut writer => break Ok(()),
        };
        while calls.try_join_next().is_some() {}
        running.retain(|_, call| !call.is_finished());
        let call = match line {
            Ok(Some(Line::Whole(line))) if line.trim_ascii().is_empty() => {
                input.watch();
                continue;
            }
            Ok(Some(Line::Whole(line))) => parse(&line),
            Ok(Some(Line::TooLong)) => Err((0, too_long())),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        };
        let Call {
            id,
            expect,
            request,
        } = match call {
            Ok(call) => call,
            Err((id, error)) => {
                replies_to(id).finish(Err(error)).await;
                continue;
            }
        };
        let replies = replies_to(id);
        match request {
            Request::Upload { sha256, size } => {
                let received = upload::receive(hive, sha256, size, &mut input, &replies).await;
                if let Err(error) = received {
                    break Err(error);
                }
            }
            Request::Lock { holder } => match block_in_place(|| Lease::take(&hive.home, &holder)) {
                Ok(lease) => {
                    leases.insert(id, lease);
                    replies.send(Event::Locked).await;
                }
                Err(error) => replies.finish(Err(error)).await,
            },
            Request::Cancel { call } => {
                let task = running.remove(&call);
                if let Some(task) = &task {
                    task.abort();
                }
                if task.is_some() || leases.remove(&call).is_some() {
                    replies_to(call).finish(Err(cancelled())).await;
                }
                replies.finish(Ok(Outcome::Cancelled)).await;
            }
            request => {
                let hive = hive.clone();
                let call = calls.spawn(async move {
                    let result = answer::answer(&hive, request, expect, &replies).await;
                    replies.finish(result).await;
                });
                running.insert(id, call);
            }
        }
    };
    // What was answered already is still told, to whoever may read it.
    drop(outbox);
    let farewell = async {
        calls.shutdown().await;
        if !writer.is_finished() {
            let _ = writer.await;
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(1), farewell).await;
    // Only now may another apply begin.
    drop(leases);
    read
}

async fn write(
    mut inbox: mpsc::Receiver<Reply>,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(reply) = inbox.recv().await {
        let line = serde_json::to_string(&reply)? + "\n";
        output.write_all(line.as_bytes()).await?;
        output.flush().await?;
    }
    Ok(())
}

/// Reads a call; the error comes with the id that it is answered under.
fn parse(line: &[u8]) -> std::result::Result<Call, (u64, HiveError)> {
    serde_json::from_slice(line).map_err(|error| {
        let value: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        let id = value.as_ref().and_then(|value| value.get("id")?.as_u64());
        let error = fail(
            ErrorCode::BadRequest,
            format!(
                "rbee-hive {} cannot read the call: {error}",
                pool_core::VERSION
            ),
            "use an rbee of the same version; `rbee apply` brings its own rbee-hive",
        );
        (id.unwrap_or_default(), error)
    })
}

fn too_long() -> HiveError {
    fail(
        ErrorCode::BadRequest,
        format!("a call is longer than {} MiB", input::LONGEST >> 20),
        "the content of files is not sent in calls, but by `upload`",
    )
}

fn cancelled() -> HiveError {
    HiveError {
        code: ErrorCode::Cancelled,
        message: "the call was cancelled".into(),
        help: None,
    }
}

/// The way back for one call.
#[derive(Clone)]
struct Replies {
    id: u64,
    outbox: mpsc::Sender<Reply>,
}

impl Replies {
    /// Fails only when the connection is about to end.
    async fn send(&self, event: Event) {
        let _ = self.outbox.send(Reply { id: self.id, event }).await;
    }

    /// Dropped while the reader is behind.
    fn progress(&self, progress: Progress) {
        let event = Event::Progress(progress);
        let _ = self.outbox.try_send(Reply { id: self.id, event });
    }

    async fn finish(&self, result: Result<Outcome>) {
        self.send(match result {
            Ok(outcome) => Event::Done(Box::new(outcome)),
            Err(error) => Event::Error(error),
        })
        .await;
    }
}
