//! Whether a task may wait for its turn.

use pool_core::name::ModelId;
use pool_core::serving::{Failure, FailureCode};

use super::Core;
use super::explain::Outcome;
use super::ids::{Now, TaskId};
use super::promise::Client;
use super::quota::Quota;
use super::task::{NewTask, Place, Priority, Task, TaskView};

/// A task that is in its queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    /// Tokens of the answer at most, also when the task did not say.
    pub max_tokens: u64,
    /// Tasks that start before it, as it looks now.
    pub queue_position: usize,
    /// Milliseconds until it starts, as it looks now.
    pub predicted_start_ms: u64,
    /// A task that had to leave the queue for it: it has failed.
    pub dropped: Option<TaskId>,
}

/// Why a task is not admitted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("there is a task `{0}` already")]
    SameId(TaskId),
    #[error("the tenant is not known")]
    UnknownTenant,
    #[error("there is no model `{0}`")]
    UnknownModel(ModelId),
    #[error("nothing serves the model `{0}` now")]
    NotServed(ModelId),
    #[error(
        "the prompt has {tokens_in} tokens and asks for {max_tokens}, and the context holds {context_length}"
    )]
    TooLong {
        tokens_in: u64,
        max_tokens: u64,
        context_length: u64,
    },
    #[error("a deadline is from 1 to {most_ms} ms, not {deadline_ms} ms")]
    DeadlineOutOfRange { deadline_ms: u64, most_ms: u64 },
    #[error("it would start in {predicted_start_ms} ms, after its deadline of {deadline_ms} ms")]
    DeadlineImpossible {
        deadline_ms: u64,
        predicted_start_ms: u64,
        retry_after_ms: u64,
    },
    #[error("the quota of {limit} {} is used up", quota.noun())]
    QuotaExceeded {
        quota: Quota,
        limit: u64,
        /// None: it never fits.
        retry_after_ms: Option<u64>,
    },
    #[error("the queue of the model is full: {queued} tasks wait")]
    QueueFull { queued: usize, retry_after_ms: u64 },
    #[error("the orchestrator is about to end")]
    Draining,
    #[error("{0}")]
    ByPolicy(String),
}

impl Quota {
    fn noun(self) -> &'static str {
        match self {
            Self::Concurrent => "concurrent tasks",
            Self::TokensPerMinute => "tokens a minute",
            Self::TokensPerDay => "tokens a day",
        }
    }
}

impl Refused {
    /// When the same request has a chance: the time that its place is kept for, or that a quota is free again.
    pub fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::QueueFull { retry_after_ms, .. }
            | Self::DeadlineImpossible { retry_after_ms, .. } => Some(*retry_after_ms),
            Self::QuotaExceeded { retry_after_ms, .. } => *retry_after_ms,
            Self::NotServed(_) | Self::Draining => Some(NO_WORKER_MS),
            _ => None,
        }
    }
}

/// When to ask again for a model that nothing serves, or an orchestrator that ends: a worker is learned within one heartbeat.
const NO_WORKER_MS: u64 = 15_000;

/// The least time after which a refused client should come back.
const SOON_MS: u64 = 500;

/// A place is not promised for the moment at which it should be free, but for this much of the time later.
const MARGIN: f64 = 1.2;

/// One in so many places is kept for clients that were told to come back.
const KEPT: usize = 5;

/// A tenant that is not alone may hold so many times the places that are still free; so there always are some.
/// Source: Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet switches" (1998).
const GREED: usize = 8;

impl Core {
    /// Checks a task and puts it into its queue.
    pub fn submit(&mut self, now: Now, new: NewTask) -> Result<Admitted, Refused> {
        let deadline_ms = new.deadline_ms.unwrap_or(self.config.deadline_ms);
        let client = (new.tenant.clone(), new.request);
        let view = self.check(now, new, deadline_ms)?;
        let victim = self.find_place(now, &view, &client)?;
        let (id, name, class) = (view.id.clone(), view.model.clone(), view.class);
        let tenant = view.tenant.clone();
        let max_tokens = view.max_tokens;
        self.enqueue(now, view, deadline_ms);
        let (ahead, predicted_start_ms) = self.outlook(now, &name, &id);
        if predicted_start_ms >= deadline_ms {
            self.retract(now, &id);
            return Err(Refused::DeadlineImpossible {
                deadline_ms,
                predicted_start_ms,
                retry_after_ms: (predicted_start_ms - deadline_ms).max(SOON_MS),
            });
        }
        if let Some(model) = self.models.get_mut(&name) {
            model.promises.remove(&client);
        }
        self.tenants.redeem(&tenant, client.1);
        let Some(victim) = victim else {
            return Ok(Admitted {
                max_tokens,
                queue_position: ahead,
                predicted_start_ms,
                dropped: None,
            });
        };
        self.end(now, &victim, Outcome::Failed(dropped(class)), 0);
        let (queue_position, predicted_start_ms) = self.outlook(now, &name, &id);
        Ok(Admitted {
            max_tokens,
            queue_position,
            predicted_start_ms,
            dropped: Some(victim),
        })
    }

    /// Puts tasks that were admitted before a restart back into their queues, in their order, with the `max_tokens` of
    /// [`Admitted`] and the time that is left of their deadlines. Nothing is checked again.
    pub fn restore(&mut self, now: Now, tasks: impl IntoIterator<Item = NewTask>) {
        for new in tasks {
            let deadline_ms = new.deadline_ms.unwrap_or(self.config.deadline_ms);
            let max_tokens = new.max_tokens.unwrap_or(0);
            self.enqueue(now, view_of(new, max_tokens), deadline_ms);
        }
    }

    /// Why a model is not among those of the fleet: without a single worker, as after a start, nobody can tell what it serves.
    pub fn unknown(&self, model: ModelId) -> Refused {
        if self.workers.is_empty() {
            Refused::NotServed(model)
        } else {
            Refused::UnknownModel(model)
        }
    }

    fn check(&mut self, now: Now, new: NewTask, deadline_ms: u64) -> Result<TaskView, Refused> {
        if self.draining {
            return Err(Refused::Draining);
        }
        if self.tasks.contains_key(&new.id) || self.recent.contains(&new.id) {
            return Err(Refused::SameId(new.id));
        }
        if !self.tenants.is_known(&new.tenant) {
            return Err(Refused::UnknownTenant);
        }
        let Some(model) = self.models.get(&new.model) else {
            return Err(self.unknown(new.model));
        };
        let Some(context_length) = model.context_length() else {
            return Err(Refused::NotServed(new.model));
        };
        let most_ms = self.config.deadline_most_ms;
        if !(1..=most_ms).contains(&deadline_ms) {
            return Err(Refused::DeadlineOutOfRange {
                deadline_ms,
                most_ms,
            });
        }
        let tokens_in = new.tokens_in;
        let max_tokens = new
            .max_tokens
            .unwrap_or(context_length.saturating_sub(tokens_in).max(1));
        if tokens_in.saturating_add(max_tokens) > context_length {
            return Err(Refused::TooLong {
                tokens_in,
                max_tokens,
                context_length,
            });
        }
        let request = new.request;
        let view = view_of(new, max_tokens);
        let cost = view.cost();
        if let Err(exceeded) = self.tenants.check(now, &view.tenant, request, cost) {
            return Err(Refused::QuotaExceeded {
                quota: exceeded.quota,
                limit: exceeded.limit,
                retry_after_ms: exceeded.wait_ms.map(|ms| ms.max(SOON_MS)),
            });
        }
        let snapshot = model.snapshot(now, &view.model, &self.config);
        match self.policy.refuses(&snapshot, &view) {
            Some(message) => Err(Refused::ByPolicy(message)),
            None => Ok(view),
        }
    }

    /// Finds a place in the queue, and who has to leave it for that.
    fn find_place(
        &mut self,
        now: Now,
        view: &TaskView,
        client: &Client,
    ) -> Result<Option<TaskId>, Refused> {
        let bound = self.config.queue_bound;
        let is_alone = self.tenants.known() <= 1;
        let Some(model) = self.models.get_mut(&view.model) else {
            return Err(Refused::UnknownModel(view.model.clone()));
        };
        let grace = self.config.promise_grace_ms;
        let promises = &mut model.promises;
        promises.forget_before(now.mono_ms.saturating_sub(grace));
        // Who was told to come for tokens does not come for nothing either.
        let for_tokens = self.tenants.is_due(now.mono_ms, &client.0, client.1);
        let promised = promises.time_of(client);
        let others = promises.len() - usize::from(promised.is_some());
        let is_due = for_tokens || promises.is_due(client, now.mono_ms);
        let kept = if is_due { 0 } else { others.min(bound / KEPT) };
        let queued = model.queued();
        let greed = GREED.saturating_mul(bound.saturating_sub(queued));
        let is_greedy = !is_due && !is_alone && model.queued_of(&view.tenant) >= greed;
        if queued + kept < bound && !is_greedy {
            return Ok(None);
        }
        let victim = model.victim(self.config.when_full, view.class);
        if queued >= bound && victim.is_some() {
            return Ok(victim.cloned());
        }
        let at = match promised {
            // It came too early: the place that is kept for it stays.
            Some(at) if !is_due => at,
            _ => {
                let places = (queued + others + 1).saturating_sub(bound).max(1);
                let wait = |places| model.drained_ms(now.mono_ms, places, MARGIN);
                let after_last = model.promises.last() + wait(1);
                after_last.max(now.mono_ms + wait(places).max(SOON_MS))
            }
        };
        model.promises.make(client.clone(), at);
        self.tenants.postpone(&client.0, client.1, at);
        Err(Refused::QueueFull {
            queued,
            retry_after_ms: at - now.mono_ms,
        })
    }

    fn enqueue(&mut self, now: Now, view: TaskView, deadline_ms: u64) {
        self.number += 1;
        let task = Task {
            number: self.number,
            submitted: now.mono_ms,
            deadline: now.mono_ms.saturating_add(deadline_ms),
            place: Place::Queued,
            failures: 0,
            attempts: Vec::new(),
            view,
        };
        let id = task.view.id.clone();
        self.tenants
            .reserve(now, &task.view.tenant, task.view.cost());
        self.deadlines.insert((task.deadline, id.clone()));
        let weight = self.tenants.weight(&task.view.tenant);
        let model = self.models.entry(task.view.model.clone()).or_default();
        model
            .queue_mut(task.view.class)
            .insert(&task.view.tenant, weight, task.waiting());
        self.tasks.insert(id, task);
    }

    /// Takes back a task that was put into its queue just now.
    fn retract(&mut self, now: Now, id: &TaskId) {
        if let Some(task) = self.leave(id) {
            self.tenants
                .settle(now, &task.view.tenant, task.view.cost(), 0);
        }
    }

    /// Tasks before one that waits, and milliseconds until it starts.
    pub(super) fn outlook(&self, now: Now, model: &ModelId, id: &TaskId) -> (usize, u64) {
        let Some(model) = self.models.get(model) else {
            return (0, 0);
        };
        let ahead = model.ahead(id, self.config.interactive_per_batch);
        (ahead.tasks, model.predicted_start_ms(now.mono_ms, ahead))
    }
}

fn view_of(new: NewTask, max_tokens: u64) -> TaskView {
    TaskView {
        context: new.tokens_in.saturating_add(new.max_tokens.unwrap_or(1)),
        id: new.id,
        tenant: new.tenant,
        model: new.model,
        class: new.class,
        tokens_in: new.tokens_in,
        max_tokens,
        session: new.session,
        prefixes: new.prefixes,
        attempts: 0,
        failed_on: Vec::new(),
    }
}

fn dropped(by: Priority) -> Failure {
    Failure {
        code: FailureCode::Internal,
        message: format!(
            "the queue was full, and the task made place for another one ({})",
            by.as_str()
        ),
        retriable: true,
    }
}
