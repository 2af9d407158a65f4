//! Calls to a running hive.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use pool_core::digest::Sha256;
use pool_core::facts::Fact;
use pool_core::name::PoolName;
use pool_core::rpc::{Call, Event, HEARTBEAT, Hello, HiveError, Holder, Outcome, Reply, Request};
use pool_core::supply::{Interface, Serving};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeek, AsyncSeekExt, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::{MutexGuard, mpsc};
use tokio::task::{JoinHandle, JoinSet};

use super::{advice, lines};

#[cfg(test)]
mod tests;

/// A running `rbee-hive rpc`. Calls run at the same time; share it by reference or `Arc`.
///
/// The hive ends when this is dropped: its stdin closes. So it does when a call's future is dropped
/// before all its bytes were sent, because half a line cannot be taken back.
#[derive(Debug)]
pub struct HiveClient {
    pool: PoolName,
    hello: Hello,
    next_id: AtomicU64,
    calls: Arc<Mutex<Calls>>,
    stdin: Arc<Stdin>,
    reader: JoinHandle<()>,
    /// Gives signs of life, until this is dropped.
    heart: JoinSet<()>,
}

/// Whoever writes takes the pipe out and puts it back; a writer that is dropped closes it.
type Stdin = tokio::sync::Mutex<Option<Sender>>;

/// The calls that wait for an answer, until no answer can come.
#[derive(Debug)]
enum Calls {
    Waiting(HashMap<u64, mpsc::UnboundedSender<Event>>),
    Lost(String),
}

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The hive refused or failed.
    #[error("pool `{pool}`: {error}")]
    Hive { pool: PoolName, error: HiveError },
    /// The hive, or the connection to it, is gone. Whether the call was carried out is not known.
    #[error("pool `{pool}`: connection lost: {cause}")]
    Lost { pool: PoolName, cause: String },
    /// The content to upload could not be read here; the connection is closed.
    #[error("cannot read what pool `{pool}` was to get: {cause}")]
    Source { pool: PoolName, cause: String },
}

/// One call on its way.
struct Pending<'a> {
    client: &'a HiveClient,
    id: u64,
    events: mpsc::UnboundedReceiver<Event>,
}

/// A call that lasts until it is cancelled, which this does when it is dropped.
#[derive(Debug)]
pub struct Lasting {
    client: Arc<HiveClient>,
    /// None once it is over.
    id: Option<u64>,
}

impl Lasting {
    /// The hive that it is a call of is gone.
    pub fn is_lost(&self) -> bool {
        matches!(*lock(&self.client.calls), Calls::Lost(_))
    }

    /// Ends the call, and waits until it has.
    pub async fn end(mut self) {
        if let Some(call) = self.id.take() {
            // A hive that is gone has ended it.
            self.client
                .call(Request::Cancel { call }, |_| ())
                .await
                .ok();
        }
    }
}

impl Drop for Lasting {
    fn drop(&mut self) {
        if let (Some(call), Ok(runtime)) = (self.id, tokio::runtime::Handle::try_current()) {
            let client = self.client.clone();
            runtime.spawn(async move { client.call(Request::Cancel { call }, |_| ()).await });
        }
    }
}

impl HiveClient {
    /// `end` tells why nothing more comes, once nothing more comes.
    pub(super) fn new(
        pool: PoolName,
        hello: Hello,
        stdin: Sender,
        stdout: BufReader<Receiver>,
        end: impl Future<Output = String> + Send + 'static,
    ) -> Self {
        let calls = Arc::new(Mutex::new(Calls::Waiting(HashMap::new())));
        let stdin = Arc::new(Stdin::new(Some(stdin)));
        let mut heart = JoinSet::new();
        heart.spawn(beat(Arc::downgrade(&stdin)));
        Self {
            pool,
            hello,
            next_id: AtomicU64::new(1),
            reader: tokio::spawn(read(stdout, end, calls.clone())),
            calls,
            stdin,
            heart,
        }
    }

    /// What the hive said first.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Asks the hive and waits for its answer. `on_event` hears of [`Event::Progress`] and
    /// [`Event::Output`].
    pub async fn call(
        &self,
        request: Request,
        on_event: impl FnMut(Event) + Send,
    ) -> Result<Outcome, CallError> {
        self.call_while(&[], request, on_event).await
    }

    /// As [`Self::call`], and the hive refuses to change anything when one of these facts is no longer so.
    pub async fn call_while(
        &self,
        expect: &[Fact],
        request: Request,
        on_event: impl FnMut(Event) + Send,
    ) -> Result<Outcome, CallError> {
        let mut pending = self.pending();
        let mut stdin = self.stdin.lock().await;
        pending.send(expect, request, &mut stdin).await;
        drop(stdin);
        pending.outcome(on_event).await
    }

    /// Keeps everybody else from applying to the pool until the returned handle ends or is dropped.
    pub async fn lock(self: &Arc<Self>, holder: Holder) -> Result<Lasting, CallError> {
        let request = Request::Lock { holder };
        let locked = |event| matches!(event, Event::Locked).then_some(());
        // From the first sign of life on the lock does not outlive this machine.
        sign(&mut *self.stdin.lock().await).await;
        self.last(request, locked).await.map(|((), lock)| lock)
    }

    /// Has the pool serve these contents until the returned handle ends or is dropped.
    pub async fn serve(
        self: &Arc<Self>,
        contents: Vec<Sha256>,
        interface: Interface,
    ) -> Result<(Serving, Lasting), CallError> {
        let request = Request::Serve {
            contents,
            interface,
        };
        let serving = |event| match event {
            Event::Serving(serving) => Some(serving),
            _ => None,
        };
        self.last(request, serving).await
    }

    /// Makes a call that lasts, and waits until the event that says so.
    async fn last<T>(
        self: &Arc<Self>,
        request: Request,
        begun: impl Fn(Event) -> Option<T>,
    ) -> Result<(T, Lasting), CallError> {
        let mut pending = self.pending();
        let mut lasting = Lasting {
            client: self.clone(),
            id: Some(pending.id),
        };
        pending
            .send(&[], request, &mut *self.stdin.lock().await)
            .await;
        loop {
            match pending.events.recv().await {
                Some(Event::Progress(_) | Event::Output { .. }) => {}
                last @ (None | Some(Event::Done(_) | Event::Error(_))) => {
                    lasting.id = None;
                    let done = self.result(last)?;
                    return Err(self.out_of_turn(&done));
                }
                Some(event) => {
                    let text = format!("{event:?}");
                    let begun = begun(event).ok_or_else(|| self.out_of_turn(&text))?;
                    return Ok((begun, lasting));
                }
            }
        }
    }

    /// Sends the content of one file, from where the pool asks for it; other calls wait until it is
    /// sent. `on_progress` hears how many bytes of the file the pool has.
    pub async fn upload(
        &self,
        sha256: Sha256,
        size: u64,
        mut content: impl AsyncRead + AsyncSeek + Unpin + Send,
        mut on_progress: impl FnMut(u64) + Send,
    ) -> Result<Outcome, CallError> {
        let mut pending = self.pending();
        // Held from the call to the last byte: what follows the call may be raw bytes.
        let mut stdin = self.stdin.lock().await;
        pending
            .send(&[], Request::Upload { sha256, size }, &mut stdin)
            .await;
        loop {
            match pending.events.recv().await {
                Some(Event::Send { offset }) => {
                    on_progress(offset);
                    content
                        .seek(SeekFrom::Start(offset))
                        .await
                        .map_err(|error| self.unreadable(&mut stdin, &error.to_string()))?;
                    self.stream(&mut stdin, &mut content, offset..size, &mut on_progress)
                        .await?;
                    drop(stdin);
                    return pending.outcome(|_| ()).await;
                }
                Some(Event::Progress(_) | Event::Output { .. }) => {}
                last => return self.result(last),
            }
        }
    }

    async fn stream(
        &self,
        stdin: &mut MutexGuard<'_, Option<Sender>>,
        content: &mut (impl AsyncRead + Unpin),
        range: std::ops::Range<u64>,
        on_progress: &mut (impl FnMut(u64) + Send),
    ) -> Result<(), CallError> {
        let Some(mut pipe) = stdin.take() else {
            return Ok(());
        };
        let mut buffer = vec![0; 256 << 10];
        let mut content = content.take(range.end.saturating_sub(range.start));
        let mut sent = range.start;
        while sent < range.end {
            let count = match content.read(&mut buffer).await {
                Ok(0) => return Err(self.unreadable(stdin, "it is shorter than it was")),
                Ok(count) => count,
                Err(error) => return Err(self.unreadable(stdin, &error.to_string())),
            };
            if pipe.write_all(&buffer[..count]).await.is_err() {
                // The reader knows more about why.
                return Ok(());
            }
            sent += count as u64;
            on_progress(sent);
        }
        **stdin = Some(pipe);
        Ok(())
    }

    /// The hive waits for bytes that do not come: only an end of the connection sets it free.
    fn unreadable(&self, stdin: &mut Option<Sender>, cause: &str) -> CallError {
        stdin.take();
        CallError::Source {
            pool: self.pool.clone(),
            cause: cause.to_owned(),
        }
    }

    /// Ends the hive, and waits a little until it has.
    pub async fn close(mut self) {
        // Otherwise it might hold the pipe, and wait for a hive that reads nothing.
        self.heart.shutdown().await;
        self.stdin.lock().await.take();
        tokio::time::timeout(Duration::from_secs(5), self.reader)
            .await
            .ok();
    }

    fn pending(&self) -> Pending<'_> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, events) = mpsc::unbounded_channel();
        if let Calls::Waiting(waiting) = &mut *lock(&self.calls) {
            waiting.insert(id, sender);
        }
        Pending {
            client: self,
            id,
            events,
        }
    }

    fn out_of_turn(&self, answer: &impl std::fmt::Debug) -> CallError {
        CallError::Lost {
            pool: self.pool.clone(),
            cause: format!("the hive answered out of turn: {answer:?}"),
        }
    }

    fn result(&self, last: Option<Event>) -> Result<Outcome, CallError> {
        let pool = self.pool.clone();
        match last {
            Some(Event::Done(outcome)) => Ok(*outcome),
            Some(Event::Error(error)) => {
                let help = error.help.map(|help| advice::from_here(&help, &pool));
                let error = HiveError { help, ..error };
                Err(CallError::Hive { pool, error })
            }
            Some(other) => Err(self.out_of_turn(&other)),
            None => {
                let cause = match &*lock(&self.calls) {
                    Calls::Lost(cause) => cause.clone(),
                    Calls::Waiting(_) => "the hive takes no more calls".to_owned(),
                };
                Err(CallError::Lost { pool, cause })
            }
        }
    }
}

impl Pending<'_> {
    /// Writes the call. When that fails nothing will answer it, and the reader learns why.
    async fn send(&mut self, expect: &[Fact], request: Request, stdin: &mut Option<Sender>) {
        let call = Call {
            id: self.id,
            expect: expect.to_vec(),
            request,
        };
        let line = serde_json::to_vec(&call).map(|mut line| {
            line.push(b'\n');
            line
        });
        let (Some(mut pipe), Ok(line)) = (stdin.take(), line) else {
            lock(&self.client.calls).forget(self.id);
            return;
        };
        if pipe.write_all(&line).await.is_ok() {
            *stdin = Some(pipe);
        }
    }

    async fn outcome(mut self, mut on_event: impl FnMut(Event)) -> Result<Outcome, CallError> {
        loop {
            match self.events.recv().await {
                Some(event @ (Event::Progress(_) | Event::Output { .. })) => on_event(event),
                last => return self.client.result(last),
            }
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        lock(&self.client.calls).forget(self.id);
    }
}

impl Calls {
    fn forget(&mut self, id: u64) {
        if let Self::Waiting(waiting) = self {
            waiting.remove(&id);
        }
    }
}

fn lock(calls: &Mutex<Calls>) -> std::sync::MutexGuard<'_, Calls> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a sign of life now and then, until the pipe is closed.
async fn beat(stdin: Weak<Stdin>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        let Some(stdin) = stdin.upgrade() else {
            return;
        };
        // Not while somebody else writes: it might be in the midst of raw bytes.
        let mut stdin = stdin.lock().await;
        if stdin.is_none() {
            return;
        }
        sign(&mut stdin).await;
    }
}

async fn sign(stdin: &mut Option<Sender>) {
    if let Some(mut pipe) = stdin.take()
        && pipe.write_all(b"\n").await.is_ok()
    {
        *stdin = Some(pipe);
    }
}

/// Hands each reply to its call until there are no more, then says why to those that still wait.
async fn read(
    mut stdout: BufReader<Receiver>,
    end: impl Future<Output = String>,
    calls: Arc<Mutex<Calls>>,
) {
    let mut nonsense = None;
    while let Some(line) = lines::next(&mut stdout).await {
        match serde_json::from_slice::<Reply>(&line) {
            Ok(Reply { id, event }) => {
                if let Calls::Waiting(waiting) = &*lock(&calls)
                    && let Some(call) = waiting.get(&id)
                {
                    // A call that nobody waits for any more needs no answer.
                    call.send(event).ok();
                }
            }
            Err(error) => {
                nonsense = Some(format!("the hive wrote what is no reply: {error}"));
                break;
            }
        }
    }
    // Closes the pipe, so that a hive that still writes ends.
    drop(stdout);
    let cause = end.await;
    *lock(&calls) = Calls::Lost(nonsense.unwrap_or(cause));
}
