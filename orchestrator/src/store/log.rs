//! The events of one task, for those who follow it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::sync::watch;

use super::{Events, Reader, StoreError};

/// Bytes that are read back from the store at once.
const PAGE_BYTES: usize = 256 << 10;

/// The events of one task. They can be seen once they are committed, so that no id that somebody has seen is
/// unknown after a crash.
#[derive(Clone)]
pub struct TaskLog(Arc<Log>);

struct Log {
    id: String,
    reader: Reader,
    window: Mutex<Window>,
    window_bytes: usize,
    progress: watch::Sender<Progress>,
}

/// The newest events.
#[derive(Default)]
struct Window {
    batches: VecDeque<Events>,
    bytes: usize,
}

#[derive(Debug, Clone, Default)]
struct Progress {
    /// The id after the last event.
    next: u64,
    has_ended: bool,
    /// Why its next events could not be stored.
    fault: Option<StoreError>,
}

impl TaskLog {
    pub(super) fn new(
        id: String,
        reader: Reader,
        window_bytes: usize,
        next: u64,
        has_ended: bool,
    ) -> Self {
        Self(Arc::new(Log {
            id,
            reader,
            window: Mutex::default(),
            window_bytes,
            progress: watch::Sender::new(Progress {
                next,
                has_ended,
                fault: None,
            }),
        }))
    }

    /// Shows events that were committed.
    pub(super) fn publish(&self, events: Events, is_end: bool) {
        let progress = Progress {
            next: events.next(),
            has_ended: is_end,
            fault: None,
        };
        self.0.window().push(events, self.0.window_bytes);
        self.0.progress.send_replace(progress);
    }

    /// Its next events could not be stored: nobody waits for them.
    pub(super) fn fail(&self, fault: StoreError) {
        self.0
            .progress
            .send_modify(|progress| progress.fault = Some(fault));
    }

    /// The id of the next event.
    pub fn next_event(&self) -> u64 {
        self.0.progress.borrow().next
    }

    /// The terminal event is there.
    pub fn has_ended(&self) -> bool {
        self.0.progress.borrow().has_ended
    }

    /// The frames after the one with the id `after`, or all: nothing twice, nothing left out, however slow the
    /// reader. Each piece has one or more whole frames. Ends after the terminal event.
    pub fn follow(
        &self,
        after: Option<u64>,
    ) -> impl Stream<Item = Result<Bytes, StoreError>> + Send + use<> {
        let reader = Follower {
            log: self.0.clone(),
            progress: self.0.progress.subscribe(),
            next: after.map_or(0, |id| id.saturating_add(1)),
            read_back: VecDeque::new(),
        };
        stream::try_unfold(reader, |mut reader| async move {
            Ok(reader.piece().await?.map(|piece| (piece, reader)))
        })
    }
}

impl Log {
    fn window(&self) -> std::sync::MutexGuard<'_, Window> {
        // Nothing panics while it is held.
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn push(&mut self, events: Events, most_bytes: usize) {
        self.bytes += events.bytes().len();
        self.batches.push_back(events);
        while self.bytes > most_bytes
            && let Some(oldest) = self.batches.pop_front()
        {
            self.bytes -= oldest.bytes().len();
        }
    }

    /// The batch that has the event `id`, unless that is older than the window.
    fn find(&self, id: u64) -> Option<Events> {
        let after = self.batches.partition_point(|batch| batch.first() <= id);
        let batch = self.batches.get(after.checked_sub(1)?)?;
        (id < batch.next()).then(|| batch.clone())
    }
}

struct Follower {
    log: Arc<Log>,
    progress: watch::Receiver<Progress>,
    /// The id that comes next.
    next: u64,
    read_back: VecDeque<Events>,
}

impl Follower {
    async fn piece(&mut self) -> Result<Option<Bytes>, StoreError> {
        loop {
            let progress = self.progress.borrow_and_update().clone();
            if self.next < progress.next {
                return self.next_piece().await.map(Some);
            }
            if progress.has_ended {
                return Ok(None);
            }
            if let Some(fault) = progress.fault {
                return Err(fault);
            }
            // The sender lives as long as the log.
            let _ = self.progress.changed().await;
        }
    }

    async fn next_piece(&mut self) -> Result<Bytes, StoreError> {
        let in_window = self.log.window().find(self.next);
        let events = match in_window {
            Some(events) => {
                self.read_back.clear();
                events
            }
            None => self.read_back().await?,
        };
        let piece = events.from(self.next);
        self.next = events.next();
        Ok(piece)
    }

    async fn read_back(&mut self) -> Result<Events, StoreError> {
        if self.read_back.is_empty() {
            let log = &self.log;
            let batches = log.reader.events(&log.id, self.next, PAGE_BYTES).await?;
            self.read_back = batches.into();
        }
        // A task that was forgotten meanwhile has none.
        let unknown = || StoreError::Unknown(self.log.id.clone());
        self.read_back.pop_front().ok_or_else(unknown)
    }
}
