//! The loop of the inference thread.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use pool_core::serving::{Failure, FailureCode, MemoryUse, Phase, StreamEvent};

use super::Shared;
use super::job::{Job, Next, Running, cancelled, computing_failed};
use super::pace::{Pace, follow};
use super::slots::Slots;
use crate::model::{Model, ModelError, Network, Span, Wanted};
use crate::text::Text;

/// Loads the model, then serves until the engine is told to end.
pub(super) fn run(
    shared: &Shared,
    load: impl FnOnce(&dyn Fn(u8)) -> Result<Model, ModelError>,
) -> Result<(), ModelError> {
    let progress = |percent: u8| shared.percent.store(percent, Ordering::Relaxed);
    let Model { text, network } = load(&progress)?;
    let text = Arc::new(text);
    let (context, slots) = (network.context(), network.slots());
    let memory = network.memory();
    let memory = MemoryUse {
        weights: memory.weights,
        kv: memory.kv,
        total: memory.weights + memory.kv + memory.scratch,
    };
    let _ = shared.memory.set(memory);
    let _ = shared.text.set((Arc::clone(&text), context));
    let capacity = (context * slots) as u64;
    shared.kv_capacity.store(capacity, Ordering::Relaxed);
    {
        let _state = shared.lock();
        // A shutdown may have come while the model was loading.
        shared.phase.send_if_modified(|phase| {
            let is_loading = *phase == Phase::Loading;
            if is_loading {
                *phase = Phase::Ready;
            }
            is_loading
        });
    }
    tracing::info!(
        context,
        slots,
        weights = memory.weights,
        kv = memory.kv,
        "ready"
    );
    let serving = Serving {
        shared,
        text: &text,
        network,
        slots: Slots::new(slots),
        doubtful: vec![false; slots],
        pace: Pace::default(),
        running: Vec::new(),
    };
    serving.serve();
    Ok(())
}

struct Serving<'a> {
    shared: &'a Shared,
    text: &'a Text,
    network: Box<dyn Network>,
    slots: Slots,
    /// Slots that hold what no token was ever chosen by: it may be no numbers.
    doubtful: Vec<bool>,
    pace: Pace,
    running: Vec<Running>,
}

/// A request that ended, with its terminal event.
type Ended = (Running, StreamEvent);

impl Serving<'_> {
    fn serve(mut self) {
        while let Some(jobs) = self.shared.next(self.running.len()) {
            for job in jobs {
                self.begin(job);
            }
            let mut ended = self.abandoned();
            self.shared.step_begins();
            ended.extend(self.step());
            self.shared.step_ended(self.pace.step(), self.pace.decode());
            for (job, _) in &ended {
                self.slots.release(job.sequence.slot);
            }
            self.show();
            for (job, terminal) in ended {
                self.shared.end(job, terminal);
            }
        }
        for job in std::mem::take(&mut self.running) {
            let terminal = job.fail(deadline());
            self.shared.end(job, terminal);
        }
        let waiting = std::mem::take(&mut self.shared.lock().waiting);
        for job in waiting {
            self.shared.forget(&job.id);
            job.fail_unstarted(deadline(), &self.shared.metrics);
        }
    }

    /// Gives a request its slot.
    fn begin(&mut self, job: Job) {
        let rope = &self.network.config().rope;
        let Some(claim) = self.slots.claim(&job.prompt, job.owner, rope) else {
            // There are as many slots as requests that run.
            self.shared.forget(&job.id);
            return job.end_unstarted(&self.shared.metrics);
        };
        let mut held = claim.held;
        if let Some(from) = claim.from
            && let Err(error) = self.network.copy(from, claim.slot, held)
        {
            tracing::warn!(%error, "keys and values could not be copied");
            self.slots.forget(claim.slot);
            held = 0;
        }
        if std::mem::take(&mut self.doubtful[claim.slot]) {
            self.clear(claim.slot, held);
        }
        let shared = self.shared;
        let running = Running::begin(job, &shared.model, claim.slot, held, &shared.metrics);
        self.running.push(running);
    }

    /// Takes out what nobody waits for.
    fn abandoned(&mut self) -> Vec<Ended> {
        let gone = self.running.extract_if(.., |job| job.is_abandoned());
        let doubtful = &mut self.doubtful;
        let fail = |job: Running| {
            doubtful[job.sequence.slot] = !job.has_token();
            let terminal = job.fail(cancelled());
            (job, terminal)
        };
        gone.map(fail).collect()
    }

    /// Computes one token of each answer and some of the prompts; takes out what ended.
    fn step(&mut self) -> Vec<Ended> {
        let rope = self.network.config().rope.clone();
        for job in &mut self.running {
            job.sequence.prepare(&rope);
        }
        let pending: Vec<usize> = self
            .running
            .iter()
            .map(|job| job.sequence.pending())
            .collect();
        let counts = shares(&pending, self.pace.prompt_tokens());
        let spans: Vec<Span<'_>> = self
            .running
            .iter()
            .zip(&counts)
            .filter(|&(_, &count)| count > 0)
            .map(|(job, &count)| job.span(count))
            .collect();
        if spans.is_empty() {
            return Vec::new();
        }
        let began = Instant::now();
        let vocab = self.network.config().vocab;
        let computed = match self.network.forward(&spans) {
            Ok(computed) => computed,
            Err(error) => return self.failed(&error),
        };
        let prompt_tokens = counts.iter().filter(|&&count| count > 1).sum();
        self.pace.took(prompt_tokens, began.elapsed());

        let memory = self.shared.memory();
        let mut rows = computed.logits.chunks_exact(vocab).map(Next::Logits);
        let likeliest = computed.likeliest.iter().copied();
        let mut likeliest = likeliest.map(Next::Likeliest);
        let (mut ended, mut spoilt) = (Vec::new(), Vec::new());
        for (mut job, count) in std::mem::take(&mut self.running).into_iter().zip(counts) {
            let next = match job.span(count).wanted {
                Wanted::None => None,
                Wanted::Likeliest => likeliest.next(),
                Wanted::Last | Wanted::All => rows.next(),
            };
            job.sequence.advance(count);
            self.slots.computed(&job.sequence, &rope);
            match next.and_then(|next| job.choose(next, self.text, &memory)) {
                None => self.running.push(job),
                Some(terminal) => {
                    // Nothing could be chosen: its logits are no numbers, and what led to them is still in its slot.
                    if matches!(terminal, StreamEvent::Error(_)) {
                        spoilt.push(job.sequence.slot);
                    }
                    ended.push((job, terminal));
                }
            }
        }
        for slot in spoilt {
            self.slots.forget(slot);
            self.clear(slot, 0);
        }
        ended
    }

    fn clear(&mut self, slot: usize, from: usize) {
        if let Err(error) = self.network.clear(slot, from) {
            tracing::error!(%error, slot, "cannot clear a slot");
        }
    }

    /// A step that could not be computed ends all that was in it.
    fn failed(&mut self, error: &candle_core::Error) -> Vec<Ended> {
        let failure = computing_failed(error);
        let fail = |job: Running| {
            self.slots.forget(job.sequence.slot);
            self.doubtful[job.sequence.slot] = true;
            let terminal = job.fail(failure.clone());
            (job, terminal)
        };
        std::mem::take(&mut self.running)
            .into_iter()
            .map(fail)
            .collect()
    }

    fn show(&self) {
        let shared = self.shared;
        shared
            .busy
            .store(self.running.len() as u32, Ordering::Relaxed);
        let tokens = self.slots.tokens() as u64;
        shared.kv_tokens.store(tokens, Ordering::Relaxed);
    }
}

/// Tokens of each sequence for one step: one where one is left, and of the others as many as share `most` fairly, those with the
/// fewest first.
fn shares(pending: &[usize], mut most: usize) -> Vec<usize> {
    /// Rows that the kernels take at a time: fewer cost as much.
    const LEAST: usize = 8;
    let mut counts: Vec<usize> = pending.iter().map(|&left| left.min(1)).collect();
    let mut prompts: Vec<usize> = (0..pending.len()).filter(|&n| pending[n] > 1).collect();
    prompts.sort_by_key(|&n| pending[n]);
    let mut left = prompts.len();
    for n in prompts {
        counts[n] = pending[n].min((most / left).max(LEAST)).min(most);
        most -= counts[n];
        left -= 1;
    }
    counts
}

fn deadline() -> Failure {
    Failure {
        code: FailureCode::Deadline,
        message: "the worker shut down before the answer was whole".to_owned(),
        retriable: true,
    }
}

impl Shared {
    /// Requests for the free slots; blocks while there is nothing to do at all. None: the engine has ended.
    fn next(&self, running: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            if state.ended {
                return None;
            }
            self.drop_abandoned(&mut state);
            let free = (self.limits.slots as usize).saturating_sub(running);
            let count = free.min(state.waiting.len());
            if running + count > 0 {
                let next: Vec<Job> = state.waiting.drain(..count).collect();
                // Before the lock opens: a request is counted as waiting or as running, never as neither.
                self.busy.store((running + count) as u32, Ordering::Relaxed);
                return Some(next);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn step_begins(&self) {
        self.clock.step_began.store(self.now(), Ordering::Relaxed);
    }

    fn step_ended(&self, usual: std::time::Duration, decode: std::time::Duration) {
        self.clock.step_began.store(0, Ordering::Relaxed);
        let usual = usual.as_millis() as u64;
        self.clock.step.store(usual, Ordering::Relaxed);
        let decode = decode.as_micros() as u64;
        self.clock.decode.store(decode, Ordering::Relaxed);
    }

    /// Frees what a request holds, then sends its terminal event.
    fn end(&self, job: Running, terminal: StreamEvent) {
        let mut mean = self.clock.request.load(Ordering::Relaxed) as f64;
        follow(&mut mean, job.time().as_millis() as f64);
        self.clock.request.store(mean as u64, Ordering::Relaxed);
        let (id, events) = job.into_end();
        self.forget(&id);
        let _ = events.send(terminal.into());
    }

    fn forget(&self, id: &str) {
        let mut state = self.lock();
        state.cancelled.remove(id);
        self.count_jobs(&state);
    }
}
