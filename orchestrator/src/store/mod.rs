//! Tasks, their events and what tenants used, kept so that a restart or a kill loses no accepted task.
//!
//! # Layout
//!
//! | module | |
//! |---|---|
//! | `schema` | the file: private, exclusive, checked |
//! | `tasks`, `body`, `keep` | the statements |
//! | `writer` | the one thread that has the database |
//! | `log` | who follows a task |
//!
//! What always holds:
//!
//! - What was answered is committed. A process that is killed loses nothing of it; a machine that loses power may
//!   lose the last moments, but never tears the file (SQLite's WAL with `synchronous = NORMAL`).
//! - The ids of a task's events have no gap, and nothing follows its terminal event.
//! - An event can be followed once it is committed.
//! - The body of a task goes with its end, in the same transaction. From then on no query finds it, and after
//!   [`Limits::wipe_after`] it is in no file of the store. What a file system or a disk keeps of overwritten blocks
//!   is beyond it.
//! - A store in memory is the same database without a file.

mod body;
mod error;
mod events;
mod keep;
mod log;
mod schema;
mod tasks;
mod types;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll};

use rusqlite::Connection;
use tokio::sync::oneshot;

pub use error::StoreError;
pub use events::Events;
pub use log::TaskLog;
pub use types::{Kind, Limits, Outcome, State, Stored, Task, Usage};
use writer::{Job, Write, Writer};

/// The store. Clones are the same one; it closes with the last of them.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    reader: Reader,
    live: Arc<Live>,
    limits: Limits,
}

/// The logs of the tasks that have not ended.
#[derive(Default)]
struct Live(Mutex<HashMap<String, TaskLog>>);

impl Live {
    fn logs(&self) -> MutexGuard<'_, HashMap<String, TaskLog>> {
        // Nothing panics while it is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self, id: &str) -> Option<TaskLog> {
        self.logs().get(id).cloned()
    }
}

/// Resolves once the change is committed. It is made whether anybody waits for it or not.
#[must_use = "only its answer says whether the change is stored"]
pub struct Commit(oneshot::Receiver<Result<(), StoreError>>);

impl Future for Commit {
    type Output = Result<(), StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}

impl Store {
    /// Opens the store, and makes it where there is none. Blocks for as long as checking the file takes. A file that
    /// cannot be used is left as it is.
    pub fn open(kind: &Kind, limits: Limits) -> Result<Self, StoreError> {
        let db = schema::open(kind, &limits)?;
        let open_tasks = tasks::open_tasks(&db)?;
        let (jobs, taken) = mpsc::channel();
        let reader = Reader(jobs);
        let live = Live::default();
        for Stored {
            task, next_event, ..
        } in open_tasks
        {
            let log = TaskLog::new(
                task.id.clone(),
                reader.clone(),
                limits.window_bytes,
                next_event,
                false,
            );
            live.logs().insert(task.id, log);
        }
        let writer = Writer {
            db,
            jobs: taken,
            wipe_after: limits.wipe_after,
            // Who had the file before may have left something in its log.
            wipe_at: Some(std::time::Instant::now()),
        };
        std::thread::Builder::new()
            .name("store".into())
            .spawn(|| writer.serve())
            .map_err(|error| StoreError::Failed(error.to_string()))?;
        Ok(Self(Arc::new(Inner {
            reader,
            live: Arc::new(live),
            limits,
        })))
    }

    /// Stores a task as queued, with its first events.
    pub fn accept(&self, task: Task, first: Events) -> Commit {
        let log = TaskLog::new(
            task.id.clone(),
            self.0.reader.clone(),
            self.0.limits.window_bytes,
            0,
            false,
        );
        let live = self.0.live.clone();
        let (id, shown) = (task.id.clone(), first.clone());
        self.write(
            move |db| tasks::accept(db, &task, &first),
            move |committed| {
                if committed.is_ok() {
                    log.publish(shown, false);
                    live.logs().insert(id, log);
                }
            },
        )
    }

    /// The task waits for a worker, again.
    pub fn queued(&self, id: &str) -> Commit {
        let id = id.to_owned();
        self.write(move |db| tasks::queued(db, &id), |_| {})
    }

    /// The task is on its way to a worker: one more attempt.
    pub fn dispatched(&self, id: &str, worker: &str) -> Commit {
        let (id, worker) = (id.to_owned(), worker.to_owned());
        self.write(move |db| tasks::dispatched(db, &id, &worker), |_| {})
    }

    /// A worker has the task.
    pub fn running(&self, id: &str, worker: &str) -> Commit {
        let (id, worker) = (id.to_owned(), worker.to_owned());
        self.write(move |db| tasks::running(db, &id, &worker), |_| {})
    }

    /// Stores the next events of a task that has not ended, and then shows them. When that cannot be stored, those who
    /// follow it are told so.
    pub fn append(&self, id: &str, events: Events) -> Commit {
        let live = self.0.live.clone();
        let (id, shown) = (id.to_owned(), events.clone());
        let of = id.clone();
        self.write(
            move |db| tasks::append(db, &id, &events),
            move |committed| match (committed, live.log(&of)) {
                (Ok(()), Some(log)) => log.publish(shown, false),
                (Err(fault @ (StoreError::Full | StoreError::Failed(_))), Some(log)) => {
                    log.fail(fault);
                }
                _ => {}
            },
        )
    }

    /// Ends a task at `at` (milliseconds since 1970) with its last events, the terminal one included, and deletes
    /// its body. When that cannot be stored, those who follow it are told so, and the task has not ended.
    pub fn finish(&self, id: &str, outcome: Outcome, last: Events, at: u64) -> Commit {
        let live = self.0.live.clone();
        let (id, shown) = (id.to_owned(), last.clone());
        let of = id.clone();
        self.write(
            move |db| tasks::finish(db, &id, outcome.into(), &last, at),
            move |committed| match (committed, live.log(&of)) {
                (Ok(()), Some(log)) => {
                    log.publish(shown, true);
                    live.logs().remove(&of);
                }
                (Err(fault), Some(log)) => log.fail(fault),
                (_, None) => {}
            },
        )
    }

    pub async fn task(&self, id: &str) -> Result<Option<Stored>, StoreError> {
        let id = id.to_owned();
        self.0.reader.read(move |db| tasks::task(db, &id)).await
    }

    /// Those that have not ended, in the order in which they were accepted.
    pub async fn open_tasks(&self) -> Result<Vec<Stored>, StoreError> {
        self.0.reader.read(tasks::open_tasks).await
    }

    /// The events of a task, running or ended. `None` where there is no such task, or none any more.
    pub async fn log(&self, id: &str) -> Result<Option<TaskLog>, StoreError> {
        loop {
            if let Some(log) = self.0.live.log(id) {
                return Ok(Some(log));
            }
            let Some(stored) = self.task(id).await? else {
                return Ok(None);
            };
            // One that has not ended was accepted in between: it is live now.
            if stored.ended_at.is_some() {
                let reader = self.0.reader.clone();
                let id = stored.task.id;
                return Ok(Some(TaskLog::new(id, reader, 0, stored.next_event, true)));
            }
        }
    }

    /// Stores what a tenant used, in the place of what it used before.
    pub fn put_usage(&self, usage: Usage) -> Commit {
        self.write(move |db| keep::put_usage(db, &usage), |_| {})
    }

    /// What each tenant used, by name.
    pub async fn usage(&self) -> Result<Vec<Usage>, StoreError> {
        self.0.reader.read(keep::usage).await
    }

    /// Stores what clients were told, in the place of what was there before.
    pub fn put_promised(&self, promised: Vec<u8>) -> Commit {
        self.write(move |db| keep::put_promised(db, &promised), |_| {})
    }

    /// What clients were told, as it was stored last.
    pub async fn promised(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.0.reader.read(keep::promised).await
    }

    /// Deletes the ended tasks that are beyond the limits at `now` (milliseconds since 1970).
    pub async fn forget(&self, now: u64) -> Result<(), StoreError> {
        let limits = self.0.limits.clone();
        let (are_more, answers) = mpsc::channel();
        loop {
            let (limits, are_more) = (limits.clone(), are_more.clone());
            self.write(
                move |db| {
                    let more = keep::forget(db, &limits, now)?;
                    // The other end is held by whom this answers.
                    let _ = are_more.send(more);
                    Ok(())
                },
                |_| {},
            )
            .await?;
            if !answers.try_iter().last().unwrap_or(false) {
                return Ok(());
            }
        }
    }

    /// Closes the store; its files are complete then. What is asked for later fails with [`StoreError::Closed`].
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.0.reader.0.send(Job::Close(done)).is_ok() {
            // An error says that it was closed already.
            let _ = closed.await;
        }
    }

    fn write(
        &self,
        run: impl Fn(&Connection) -> Result<(), StoreError> + Send + 'static,
        then: impl FnOnce(Result<(), StoreError>) + Send + 'static,
    ) -> Commit {
        let (answer, commit) = oneshot::channel();
        let done = move |committed: Result<(), StoreError>| {
            then(committed.clone());
            // Nobody has to wait for it.
            let _ = answer.send(committed);
        };
        // With the thread gone the answer is dropped, which `Commit` takes for closed.
        let _ = self.0.reader.0.send(Job::Write(Write {
            run: Box::new(run),
            done: Box::new(done),
        }));
        Commit(commit)
    }
}

/// Asks the thread that has the database.
#[derive(Clone)]
struct Reader(mpsc::Sender<Job>);

impl Reader {
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, found) = oneshot::channel();
        let job = Job::Read(Box::new(move |db| {
            // Who asked may be gone.
            let _ = answer.send(read(db));
        }));
        self.0.send(job).map_err(|_| StoreError::Closed)?;
        found.await.unwrap_or(Err(StoreError::Closed))
    }

    async fn events(
        &self,
        id: &str,
        from: u64,
        most_bytes: usize,
    ) -> Result<Vec<Events>, StoreError> {
        let id = id.to_owned();
        self.read(move |db| tasks::events(db, &id, from, most_bytes))
            .await
    }
}
