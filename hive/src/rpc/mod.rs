//! The hive's side of [`pool_core::rpc`]: calls in, replies out, all calls at the same time.

mod command;
mod upload;

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use pool_core::rpc::{
    Call, ErrorCode, Event, GREETING, Hello, HiveError, Outcome, PROTOCOL, Progress, Reply, Request,
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet, block_in_place};

use crate::error::{Result, fail};
use crate::serve::Server;
use crate::workers::SpawnOptions;
use crate::{Hive, fetch, hub, machine, models, observe, workers};

/// Serves one connection until its input closes or nobody reads the output any more.
///
/// What runs then is broken off: commands are killed, a worker that is starting goes on and a later
/// run takes it up.
pub async fn serve(
    hive: &Hive,
    mut input: impl AsyncBufRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let (outbox, inbox) = mpsc::channel(64);
    let mut writer = tokio::spawn(write(inbox, output));
    let mut calls = JoinSet::new();
    let mut running: HashMap<u64, (AbortHandle, Replies)> = HashMap::new();
    let mut line = Vec::new();
    let read = loop {
        line.clear();
        let read = tokio::select! {
            read = input.read_until(b'\n', &mut line) => read,
            _ = &mut writer => break Ok(()),
        };
        // What the end of the input cuts is no call.
        match read {
            Ok(_) if line.ends_with(b"\n") => {}
            Ok(_) => break Ok(()),
            Err(error) => break Err(error),
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        while calls.try_join_next().is_some() {}
        running.retain(|_, (call, _)| !call.is_finished());
        match parse(&line) {
            Ok(Call { id, request, .. }) => {
                let replies = Replies {
                    id,
                    outbox: outbox.clone(),
                };
                if let Request::Upload { sha256, size } = request {
                    let received = upload::receive(hive, sha256, size, &mut input, &replies).await;
                    if let Err(error) = received {
                        break Err(error);
                    }
                } else if let Request::Cancel { call } = request {
                    if let Some((call, its_replies)) = running.remove(&call) {
                        call.abort();
                        its_replies.finish(Err(cancelled())).await;
                    }
                    replies.finish(Ok(Outcome::Cancelled)).await;
                } else {
                    let (hive, mine) = (hive.clone(), replies.clone());
                    let call = calls.spawn(async move {
                        let result = answer(&hive, request, &mine).await;
                        mine.finish(result).await;
                    });
                    running.insert(id, (call, replies));
                }
            }
            Err((id, error)) => {
                let replies = Replies {
                    id,
                    outbox: outbox.clone(),
                };
                replies.finish(Err(error)).await;
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
    read
}

async fn write(
    mut inbox: mpsc::Receiver<Reply>,
    mut output: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let hello = Hello {
        protocol: PROTOCOL,
        version: pool_core::VERSION.to_owned(),
        platform: Some(machine::platform()),
    };
    let mut line = format!("{GREETING}{}\n", serde_json::to_string(&hello)?);
    loop {
        output.write_all(line.as_bytes()).await?;
        output.flush().await?;
        match inbox.recv().await {
            Some(reply) => line = serde_json::to_string(&reply)? + "\n",
            None => return Ok(()),
        }
    }
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

async fn answer(hive: &Hive, request: Request, replies: &Replies) -> Result<Outcome> {
    match request {
        Request::Observe => observe::observe(hive).await.map(Outcome::Observed),
        Request::Register { entry } => block_in_place(|| {
            models::check_touched(&hive.home, &entry)?;
            models::register(&hive.home.lock()?, *entry).map(Outcome::Missing)
        }),
        Request::Fetch {
            model,
            peers,
            hub,
            most_from_hub,
        } => {
            let tell = |progress| replies.progress(progress);
            let from = fetch::From {
                peers,
                hub,
                most_from_hub,
            };
            fetch::fetch(hive, &model, from, tell)
                .await
                .map(Outcome::Fetched)
        }
        Request::Serve {
            contents,
            interface,
        } => {
            let server = Server::open(&hive.home, contents, interface).await?;
            replies.send(Event::Serving(server.serving())).await;
            match server.run().await? {}
        }
        Request::Resolve { source, access } => {
            hub::resolve(&source, &access).await.map(Outcome::Resolved)
        }
        Request::Publish { model } => {
            block_in_place(|| models::publish(&hive.home, &model)).map(Outcome::Published)
        }
        Request::Unregister { model, owner } => {
            block_in_place(|| models::unregister(&hive.home.lock()?, &model, owner.as_ref()))?;
            Ok(Outcome::Unregistered)
        }
        Request::Spawn { spec, .. } => {
            let progress = |progress| replies.progress(progress);
            let options = SpawnOptions::default();
            workers::spawn(hive, *spec, options, &progress)
                .await
                .map(Outcome::Spawned)
        }
        Request::Stop {
            worker,
            owner,
            deadline_s,
        } => {
            let patience = Duration::from_secs(deadline_s.into());
            workers::stop(hive, &worker, owner.as_ref(), patience)
                .await
                .map(Outcome::Stopped)
        }
        Request::Command { argv, access } => {
            let exit = command::run(hive, &argv, &access, replies).await;
            exit.map(Outcome::Exit)
        }
        Request::Lock { .. } | Request::Protect { .. } | Request::Adopt { .. } => {
            Err(fail(ErrorCode::BadRequest, "not yet", ""))
        }
        // Taken from the connection itself, see `serve`.
        Request::Upload { .. } | Request::Cancel { .. } => Ok(Outcome::Cancelled),
    }
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
