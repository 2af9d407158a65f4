//! One model: its two queues and its workers.

use pool_core::name::ModelId;

use super::config::{Config, WhenFull};
use super::ids::{Now, TaskId, TenantId, WorkerKey};
use super::pace::{Drain, Pace};
use super::promise::Promises;
use super::queue::{Queue, Waiting};
use super::schedule::Snapshot;
use super::task::Priority;
use super::worker::Worker;

#[derive(Debug, Default)]
pub(super) struct Model {
    pub interactive: Queue,
    pub batch: Queue,
    /// Interactive tasks that started since a batch task did, while one waited.
    pub passed: u32,
    /// By their keys.
    pub workers: Vec<Worker>,
    /// Which of them got the last task.
    pub last: usize,
    pub pace: Pace,
    pub drain: Drain,
    pub promises: Promises,
    pub expected: Option<Expected>,
}

/// What workers did before a restart that will be heard of again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub context_length: u64,
    pub tokens_per_ms: f64,
    /// How long they are waited for.
    pub until: u64,
}

/// What stands between a task and its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ahead {
    pub tasks: usize,
    pub tokens: u64,
}

/// Whose turn it is after so many interactive tasks in a row, of the interactive and the batch tasks that wait.
pub(super) fn next_class(passed: u32, share: u32, waits: (bool, bool)) -> Priority {
    match waits {
        (true, true) if passed < share => Priority::Interactive,
        (_, true) => Priority::Batch,
        (_, false) => Priority::Interactive,
    }
}

impl Model {
    pub fn queue(&self, class: Priority) -> &Queue {
        match class {
            Priority::Interactive => &self.interactive,
            Priority::Batch => &self.batch,
        }
    }

    pub fn queue_mut(&mut self, class: Priority) -> &mut Queue {
        match class {
            Priority::Interactive => &mut self.interactive,
            Priority::Batch => &mut self.batch,
        }
    }

    pub fn queued(&self) -> usize {
        self.interactive.len() + self.batch.len()
    }

    pub fn queued_tokens(&self) -> u64 {
        self.interactive.tokens() + self.batch.tokens()
    }

    pub fn worker(&mut self, id: &WorkerKey) -> Option<&mut Worker> {
        let at = self.workers.binary_search_by(|w| w.info.id.cmp(id)).ok()?;
        self.workers.get_mut(at)
    }

    pub fn snapshot<'a>(&'a self, now: Now, model: &'a ModelId, config: &Config) -> Snapshot<'a> {
        Snapshot {
            mono_ms: now.mono_ms,
            unix_ms: now.unix_ms,
            model,
            strategy: config.strategy,
            affinity: config.affinity,
            last: self.last,
            queued_interactive: self.interactive.len(),
            queued_batch: self.batch.len(),
            queued_tokens: self.queued_tokens(),
            workers: &self.workers,
        }
    }

    /// All that wait, in the order in which they start: interactive ones first, but after `share` of them one batch task.
    pub fn order(&self, share: u32) -> impl Iterator<Item = (Priority, &TenantId, &Waiting)> {
        let mut interactive = self.interactive.order().peekable();
        let mut batch = self.batch.order().peekable();
        let mut passed = self.passed;
        std::iter::from_fn(move || {
            let waits = (interactive.peek().is_some(), batch.peek().is_some());
            let class = next_class(passed, share, waits);
            let (tenant, task) = match class {
                Priority::Interactive => interactive.next()?,
                Priority::Batch => batch.next()?,
            };
            passed = match class {
                Priority::Interactive => passed.saturating_add(1),
                Priority::Batch => 0,
            };
            Some((class, tenant, task))
        })
    }

    /// A task leaves its queue for a worker.
    pub fn take(&mut self, now: u64, class: Priority, tenant: &TenantId, task: &Waiting) {
        self.queue_mut(class).take(tenant, &task.id);
        self.drain.left(now, task.cost, self.queued() > 0);
        self.passed = match class {
            Priority::Interactive if self.batch.len() > 0 => self.passed.saturating_add(1),
            _ => 0,
        };
    }

    /// What comes before a task that waits.
    pub fn ahead(&self, id: &TaskId, share: u32) -> Ahead {
        let mut ahead = Ahead {
            tasks: 0,
            tokens: 0,
        };
        for (_, _, task) in self.order(share).take_while(|(_, _, task)| task.id != *id) {
            ahead.tasks += 1;
            ahead.tokens += task.cost;
        }
        ahead
    }

    pub fn queued_of(&self, tenant: &TenantId) -> usize {
        self.interactive.len_of(tenant) + self.batch.len_of(tenant)
    }

    /// Who leaves a full queue for a task of a class.
    pub fn victim(&self, when_full: WhenFull, class: Priority) -> Option<&TaskId> {
        match (when_full, class) {
            (WhenFull::DropOldest, Priority::Batch) => self.batch.oldest(),
            (WhenFull::DropOldest, Priority::Interactive) => {
                self.batch.oldest().or(self.interactive.oldest())
            }
            (WhenFull::ShedBatch, Priority::Interactive) => self.batch.newest(),
            (WhenFull::ShedBatch, Priority::Batch) | (WhenFull::Reject, _) => None,
        }
    }

    /// The longest context that is served, or was before a restart; none when nothing serves the model.
    pub fn context_length(&self) -> Option<u64> {
        let serving = self.workers.iter().filter(|w| w.has_future());
        let expected = self.expected.map(|expected| expected.context_length);
        serving.map(|w| w.info.context_length).max().or(expected)
    }

    /// Tokens that one slot gets done in a millisecond.
    pub fn slot_tokens_per_ms(&self) -> f64 {
        let serving = self.workers.iter().filter(|w| w.has_future());
        let said = serving.filter_map(|w| w.info.us_per_token).min();
        self.pace.tokens_per_ms(said)
    }

    /// Tokens that the whole fleet gets done for this model in a millisecond, when nothing is idle.
    pub fn tokens_per_ms(&self) -> f64 {
        let serving = self.workers.iter().filter(|w| w.has_future());
        let slots: u32 = serving.map(|w| w.info.slots).sum();
        match self.expected {
            Some(expected) if slots == 0 => expected.tokens_per_ms,
            _ => self.slot_tokens_per_ms() * f64::from(slots.max(1)),
        }
    }

    /// Tasks that could start now.
    pub fn free_slots(&self, now: u64) -> u32 {
        let usable = self.workers.iter().filter(|w| w.is_usable(now));
        usable.map(|w| w.free_slots()).sum()
    }

    /// Milliseconds until a task with so much before it starts.
    ///
    /// With every slot taken the next one comes free after the time of a mean task over the number of slots, and tasks
    /// ahead each take one: what is queued ahead and one mean task more, over what all slots do together.
    pub fn predicted_start_ms(&self, now: u64, ahead: Ahead) -> u64 {
        let free = self.free_slots(now) as usize;
        if ahead.tasks < free {
            return 0;
        }
        let running: u32 = self.workers.iter().map(|w| w.running).sum();
        let tokens: u64 = self.workers.iter().map(|w| w.tokens).sum();
        let mean = tokens as f64 / f64::from(running.max(1));
        let waits = (ahead.tasks - free) as f64 / ahead.tasks.max(1) as f64;
        let before = mean + ahead.tokens as f64 * waits;
        (before / self.tokens_per_ms()).ceil() as u64
    }

    /// Milliseconds until `places` more tasks have left the queue, times a margin: the tokens that they are taken to need
    /// over those that leave it in a millisecond. After a pause many leave at once; that is no pace to promise.
    pub fn drained_ms(&self, now: u64, places: usize, margin: f64) -> u64 {
        let mean = self.queued_tokens() as f64 / self.queued().max(1) as f64;
        let possible = self.tokens_per_ms();
        let measured = self.drain.tokens_per_ms(now);
        let rate = measured.map_or(possible, |measured| measured.min(possible));
        (margin * places as f64 * mean / rate).ceil() as u64
    }
}
