//! The one thread that has the database: it commits in groups.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::oneshot;

use super::{StoreError, keep};

/// Writes that one commit takes at most.
const GROUP: usize = 4096;

/// What the thread is asked to do, in this order.
pub(super) enum Job {
    Write(Write),
    /// Sees everything that was asked for before it.
    Read(Box<dyn FnOnce(&Connection) + Send>),
    /// Ends the thread; the files are complete and closed when it answers.
    Close(oneshot::Sender<()>),
}

type Change = dyn Fn(&Connection) -> Result<(), StoreError> + Send;

/// A change, and what is done once it is committed or has failed. It may be run twice; only the last run counts.
pub(super) struct Write {
    pub run: Box<Change>,
    pub done: Box<dyn FnOnce(Result<(), StoreError>) + Send>,
}

pub(super) struct Writer {
    pub db: Connection,
    pub jobs: Receiver<Job>,
    pub wipe_after: Duration,
    /// When the files are to be wiped: something was written since they were.
    pub wipe_at: Option<Instant>,
}

impl Writer {
    /// Works until it is closed or nobody can ask for anything any more.
    pub(super) fn serve(mut self) {
        let mut closed = None;
        while closed.is_none() {
            let mut waiting = match self.wait() {
                Ok(job) => VecDeque::from([job]),
                Err(RecvTimeoutError::Timeout) => VecDeque::new(),
                Err(RecvTimeoutError::Disconnected) => break,
            };
            waiting.extend(self.jobs.try_iter().take(GROUP));
            let mut group = Vec::new();
            for job in waiting {
                match job {
                    Job::Write(write) => group.push(write),
                    Job::Read(read) => {
                        self.commit(std::mem::take(&mut group));
                        read(&self.db);
                    }
                    Job::Close(done) => closed = Some(done),
                }
            }
            self.commit(group);
            if self.wipe_at.is_some_and(|at| at <= Instant::now()) {
                self.wipe();
            }
        }
        if self.wipe_at.is_some() {
            self.wipe();
        }
        drop(self);
        if let Some(done) = closed {
            // Who asked may be gone.
            let _ = done.send(());
        }
    }

    fn wait(&self) -> Result<Job, RecvTimeoutError> {
        match self.wipe_at {
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(at) => self
                .jobs
                .recv_timeout(at.saturating_duration_since(Instant::now())),
        }
    }

    /// All in one transaction. When one of them fails, each in its own: only the one at fault is refused.
    fn commit(&mut self, group: Vec<Write>) {
        if group.is_empty() {
            return;
        }
        self.wipe_at
            .get_or_insert_with(|| Instant::now() + self.wipe_after);
        let together = self.transact(&group);
        if together.is_ok() || group.len() == 1 {
            for write in group {
                (write.done)(together.clone());
            }
        } else {
            for write in group {
                let alone = self.transact(std::slice::from_ref(&write));
                (write.done)(alone);
            }
        }
    }

    fn transact(&self, group: &[Write]) -> Result<(), StoreError> {
        let transaction = self.db.unchecked_transaction()?;
        for write in group {
            (write.run)(&transaction)?;
        }
        transaction.commit()?;
        Ok(())
    }

    fn wipe(&mut self) {
        self.wipe_at = None;
        if let Err(error) = keep::wipe(&self.db) {
            tracing::warn!(%error, "what was deleted is still in the files of the store");
            self.wipe_at = Some(Instant::now() + self.wipe_after.max(Duration::from_secs(1)));
        }
    }
}
