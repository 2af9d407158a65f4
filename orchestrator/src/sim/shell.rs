//! What the daemon does between requests and core.

use pool_core::serving::{Failure, FailureCode, Frame, StreamEvent};

use super::check;
use super::client::{AWAY_MOST_MS, State, TRIES};
use super::world::{Event, World};
use crate::core::{Cancelled, Effect, Quota, Refused, TaskId};

/// Bytes that a slow client reads in `READ_MS`.
const READ: usize = 200;
const READ_MS: u64 = 50;

impl World {
    pub(super) fn submit(&mut self, number: usize) {
        let now = self.clock();
        let Some(core) = &mut self.core else {
            return self.after(1000, Event::Submit { client: number });
        };
        let client = &mut self.clients[number];
        client.tries += 1;
        let returned = client
            .was_told
            .map(|why| self.report.returned.entry(why).or_default());
        let submitted = core.submit(now, client.task.clone());
        if let Some((all, admitted)) = returned {
            *all += 1;
            *admitted += u64::from(submitted.is_ok());
        }
        match submitted {
            Ok(admitted) => {
                self.report.admitted += 1;
                client.state = State::Live;
                client.admitted = self.now;
                client.deadline = self.now + client.task.deadline_ms.unwrap_or(0);
                let cancels_after = client.cancels_after;
                let admitted_to = self.books.admitted(number, &client.task, false);
                self.expect(admitted_to);
                let queued = Frame {
                    event: "queued".into(),
                    id: Some("0".into()),
                    data: "{}".into(),
                };
                self.send(number, queued.to_string().as_bytes(), 1);
                if let Some(ms) = cancels_after {
                    self.after(ms, Event::Cancel { client: number });
                }
                if let Some(dropped) = admitted.dropped {
                    self.end(number_of(&dropped), "dropped", Some(cancelled()), 0);
                }
                self.dispatch();
            }
            Err(refused) => self.refused(number, &refused),
        }
    }

    fn refused(&mut self, number: usize, refused: &Refused) {
        *self.report.refused.entry(name_of(refused)).or_default() += 1;
        let client = &mut self.clients[number];
        let is_patient = |&ms: &u64| client.tries < TRIES && ms <= AWAY_MOST_MS;
        let Some(ms) = refused.retry_after_ms().filter(is_patient) else {
            client.state = State::Done;
            self.open -= 1;
            self.report.gave_up += 1;
            return;
        };
        client.was_told = client.obeys.then(|| name_of(refused));
        let pause = if client.obeys {
            ms + self.rng.u64(..=ms / 50 + 20)
        } else {
            self.rng.u64(200..2000)
        };
        self.after(pause, Event::Submit { client: number });
    }

    pub(super) fn dispatch(&mut self) {
        let now = self.clock();
        let Some(core) = &mut self.core else {
            return;
        };
        for dispatch in core.dispatch(now) {
            self.begin(&dispatch);
        }
    }

    pub(super) fn cancel(&mut self, number: usize) {
        let now = self.clock();
        if !self.clients[number].is_live() {
            return;
        }
        let Some(core) = &mut self.core else {
            return self.after(1000, Event::Cancel { client: number });
        };
        let was = core.cancel(now, &self.clients[number].task.id);
        if was == Cancelled::NotThere {
            let what = format!("task {number} is lost: it cannot be cancelled");
            return self.report.violated(self.now, what);
        }
        self.stopped(number, &was, "cancelled", cancelled());
    }

    pub(super) fn wake(&mut self) {
        self.slept();
        let now = self.clock();
        let Some(core) = &mut self.core else {
            return;
        };
        for effect in core.tick(now) {
            if let Effect::Expired { task, was, failure } = effect {
                let number = number_of(&task);
                #[cfg(test)]
                if self.is_broken(super::tests::Broken::ForgetsTasks) {
                    continue;
                }
                if self.now < self.clients[number].deadline {
                    let what = format!("task {number} expired too early");
                    self.report.violated(self.now, what);
                }
                self.stopped(number, &was, "expired", failure);
            }
        }
        self.dispatch();
    }

    /// A task ended before its stream did.
    fn stopped(&mut self, number: usize, was: &Cancelled, how: &'static str, failure: Failure) {
        let mut used = 0;
        if let Cancelled::Running { attempt, .. } = was {
            let mut runs = self.runs.iter();
            let found = runs.find(|(_, run)| run.client == number && run.attempt == *attempt);
            let id = found.map(|(id, _)| *id);
            #[cfg(test)]
            let id = id.filter(|_| !self.is_broken(super::tests::Broken::PassesOnAfterCancel));
            if let Some(run) = id.and_then(|id| self.close(id)) {
                used = self.used(&run);
            }
        }
        self.end(number, how, Some(failure), used);
        self.dispatch();
    }

    /// A client is sent something.
    pub(super) fn send(&mut self, number: usize, bytes: &[u8], frames: u64) {
        let client = &mut self.clients[number];
        if !client.is_live() {
            let what = format!("task {number} is over and gets something more");
            return self.report.violated(self.now, what);
        }
        client.log.extend_from_slice(bytes);
        client.next_id += frames;
        if client.is_slow {
            if client.unread == 0 {
                self.after(READ_MS, Event::Read { client: number });
            }
            self.clients[number].unread += bytes.len();
        }
    }

    pub(super) fn read(&mut self, number: usize) {
        let client = &mut self.clients[number];
        client.unread = client.unread.saturating_sub(READ);
        if client.unread > 0 {
            self.after(READ_MS, Event::Read { client: number });
        }
    }

    /// A task has ended: its client gets the terminal event, unless a worker wrote it.
    pub(super) fn end(
        &mut self,
        number: usize,
        how: &'static str,
        failure: Option<Failure>,
        used: u64,
    ) {
        if let Some(failure) = failure {
            let id = self.clients[number].next_id;
            let frame = StreamEvent::Error(failure).to_frame(id).to_string();
            self.send(number, frame.as_bytes(), 1);
        }
        *self.report.ended.entry(how).or_default() += 1;
        let client = &mut self.clients[number];
        if client.is_live() {
            client.state = State::Done;
            self.open -= 1;
        }
        let whole = check::stream(client).map_err(|why| format!("task {number}: {why}"));
        let seconds = self.now as f64 / 1000.0;
        let charged = self.books.ended(number, &client.task, used, seconds);
        client.log = Vec::new();
        let tenant = client.task.tenant.clone();
        self.charged(&tenant);
        self.expect(whole);
        self.expect(charged);
    }

    pub(super) fn expect(&mut self, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.report.violated(self.now, what);
        }
    }

    #[cfg(test)]
    pub(super) fn is_broken(&self, broken: super::tests::Broken) -> bool {
        self.options.broken == Some(broken)
    }
}

/// The client of a task.
pub(super) fn number_of(task: &TaskId) -> usize {
    let number = task.as_str().trim_start_matches('t').parse();
    number.unwrap_or(usize::MAX)
}

pub(super) fn cancelled() -> Failure {
    Failure {
        code: FailureCode::Cancelled,
        message: "the task was ended".into(),
        retriable: false,
    }
}

fn name_of(refused: &Refused) -> &'static str {
    match refused {
        Refused::SameId(_) => "same id",
        Refused::UnknownTenant => "unknown tenant",
        Refused::UnknownModel(_) => "unknown model",
        Refused::NotServed(_) => "not served",
        Refused::TooLong { .. } => "too long",
        Refused::DeadlineOutOfRange { .. } => "deadline out of range",
        Refused::DeadlineImpossible { .. } => "deadline impossible",
        Refused::QuotaExceeded { quota, .. } => match quota {
            Quota::Concurrent => "concurrent tasks",
            Quota::TokensPerMinute => "tokens a minute",
            Quota::TokensPerDay => "tokens a day",
        },
        Refused::QueueFull { .. } => "queue full",
        Refused::Draining => "draining",
        Refused::ByPolicy(_) => "by policy",
    }
}
