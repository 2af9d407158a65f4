//! An attempt on its way: what a worker sends, checked by the relay, and what the core makes of it.

use super::fleet::{Course, Piece};
use super::shell::number_of;
use super::world::{Event, World};
use crate::core::relay::{FRAME_MOST, Relay};
use crate::core::{AttemptError, Config, Dispatch, Next, Used};

/// An attempt that a worker computes.
pub(super) struct Run {
    pub client: usize,
    pub worker: usize,
    pub attempt: u32,
    course: Course,
    relay: Relay,
    started: bool,
    /// When something came last.
    heard: u64,
}

/// Without a byte for so long a worker counts as stuck: it writes a comment every 10 s.
const SILENCE_MS: u64 = 30_000;

/// Bytes that a client may have unread before the shell stops to read from the worker.
const UNREAD_MOST: usize = 1024;

/// How often the shell looks whether it has.
const LOOK_MS: u64 = 50;

impl World {
    /// A worker takes a task.
    pub(super) fn begin(&mut self, dispatch: &Dispatch) {
        let number = number_of(&dispatch.task);
        self.report.attempts += 1;
        let share = Config::default().interactive_per_batch;
        for what in self.books.dispatched(number, share) {
            self.report.violated(self.now, what);
        }
        let found = self.workers.iter().position(|w| w.id == dispatch.worker);
        let Some(at) = found else {
            return;
        };
        let client = &mut self.clients[number];
        let worker = &mut self.workers[at];
        worker.running += 1;
        let course = worker.execute(&mut self.rng, client, self.options.faults);
        self.next_run += 1;
        let run = self.next_run;
        if let Some((ms, _)) = course.front() {
            let ms = *ms;
            self.after(ms, Event::Piece { run });
        }
        self.after(SILENCE_MS, Event::Silence { run });
        let relay = Relay::new(dispatch.task.as_str(), self.clients[number].next_id);
        self.runs.insert(
            run,
            Run {
                client: number,
                worker: at,
                attempt: dispatch.attempt,
                course,
                relay,
                started: false,
                heard: self.now,
            },
        );
    }

    pub(super) fn piece(&mut self, id: u64) {
        let Some(run) = self.runs.get_mut(&id) else {
            return;
        };
        run.heard = self.now;
        if self.clients[run.client].unread > UNREAD_MOST {
            return self.after(LOOK_MS, Event::Piece { run: id });
        }
        let piece = run.course.pop_front();
        if let Some((ms, _)) = run.course.front() {
            let ms = *ms;
            self.after(ms, Event::Piece { run: id });
        }
        match piece {
            Some((_, Piece::Bytes(bytes))) => self.bytes(id, &bytes),
            Some((_, Piece::Error(error))) => self.fail(id, error),
            Some((_, Piece::Close)) => {
                let closed = self.runs.get(&id).map(|run| run.relay.closed());
                if let Some(Err(_)) = closed {
                    self.fail(id, AttemptError::Cut);
                }
            }
            None => {}
        }
    }

    fn bytes(&mut self, id: u64, bytes: &[u8]) {
        let (Some(run), Some(core)) = (self.runs.get_mut(&id), &mut self.core) else {
            return;
        };
        let (number, attempt) = (run.client, run.attempt);
        let task = self.clients[number].task.id.clone();
        let mut out = Vec::new();
        let passed = match run.relay.push(bytes, &mut out) {
            Ok(passed) => passed,
            Err(fault) => {
                let message = fault.to_string();
                return self.fail(id, AttemptError::Protocol { message });
            }
        };
        let held = run.relay.held();
        self.report.most_held_bytes = self.report.most_held_bytes.max(held);
        if passed.started {
            run.started = true;
            core.started(&task, attempt);
        }
        if passed.frames > 0 {
            #[cfg(not(test))]
            let stays = core.passed_on(&task, attempt, passed.tokens);
            #[cfg(test)]
            let stays = core.passed_on(&task, attempt, passed.tokens)
                || self.is_broken(super::tests::Broken::PassesOnAfterCancel);
            if !stays {
                self.close(id);
                return;
            }
            let client = &mut self.clients[number];
            client.tokens += passed.tokens;
            if passed.tokens > 0 && client.first_token.is_none() {
                client.first_token = Some(self.now);
                let waited = self.now - client.admitted;
                self.report.first_token_ms.push(waited);
            }
            self.send(number, &out, passed.frames);
        }
        match passed.terminal {
            Some(Ok(end)) => {
                let used = Used {
                    tokens_in: end.tokens_in,
                    tokens_out: end.tokens_out,
                };
                self.close(id);
                let now = self.clock();
                let core = self.core.as_mut();
                if core.is_some_and(|core| core.ended(now, &task, attempt, used)) {
                    let used = end.tokens_in + end.tokens_out;
                    self.end(number, "completed", None, used);
                }
                self.dispatch();
            }
            Some(Err(failure)) => self.fail(id, AttemptError::Worker { failure }),
            None if held > FRAME_MOST => {
                let what = format!("the relay holds {held} bytes");
                self.report.violated(self.now, what);
            }
            None => {}
        }
    }

    /// A run failed.
    fn fail(&mut self, id: u64, error: AttemptError) {
        let now = self.clock();
        let (Some(run), Some(core)) = (self.close(id), &mut self.core) else {
            return;
        };
        let client = &self.clients[run.client];
        let next = core.failed(now, &client.task.id, run.attempt, error);
        match next {
            Next::Requeued => {
                self.report.repeated += 1;
                let requeued = self.books.requeued(run.client, &client.task);
                self.expect(requeued);
                if self.clients[run.client].next_id > 1 {
                    let what = "a task is tried again after its first token".to_owned();
                    self.report.violated(self.now, what);
                }
            }
            Next::Failed(failure) => {
                let used = self.used(&run);
                self.end(run.client, "failed", Some(failure), used);
            }
            Next::Stale => {}
        }
        self.dispatch();
    }

    pub(super) fn silence(&mut self, id: u64) {
        let Some(run) = self.runs.get(&id) else {
            return;
        };
        let silent_ms = self.now - run.heard;
        if silent_ms >= SILENCE_MS && run.course.is_empty() {
            self.fail(id, AttemptError::Stall { silent_ms });
        } else {
            self.after(SILENCE_MS, Event::Silence { run: id });
        }
    }

    /// What a run that did not come to its end is charged with.
    pub(super) fn used(&self, run: &Run) -> u64 {
        let client = &self.clients[run.client];
        if run.started {
            client.task.tokens_in + client.tokens
        } else {
            0
        }
    }

    /// The connection to the worker is closed: it stops.
    pub(super) fn close(&mut self, id: u64) -> Option<Run> {
        let run = self.runs.remove(&id)?;
        self.workers[run.worker].running -= 1;
        Some(run)
    }

    /// A worker dies: what it computes is cut.
    pub(super) fn cut_all(&mut self, worker: usize) {
        for run in self.runs.values_mut().filter(|run| run.worker == worker) {
            run.course.clear();
            run.course.push_back((0, Piece::Close));
        }
        let cut = self.runs.iter().filter(|(_, run)| run.worker == worker);
        let cut: Vec<u64> = cut.map(|(id, _)| *id).collect();
        for run in cut {
            self.after(1, Event::Piece { run });
        }
    }
}
