//! The loop of the inference thread.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use pool_core::serving::{Failure, FailureCode, Phase, StreamEvent};

use super::Shared;
use super::job::{Job, Running};
use crate::model::{Decoder, Model, ModelError};
use crate::text::Text;

/// Loads the model, then serves until the engine is told to end.
pub(super) fn run(
    shared: &Shared,
    load: impl FnOnce(&dyn Fn(u8)) -> Result<Model, ModelError>,
) -> Result<(), ModelError> {
    let progress = |percent: u8| shared.percent.store(percent, Ordering::Relaxed);
    let Model { text, decoder } = load(&progress)?;
    let text = Arc::new(text);
    shared.weights.store(decoder.bytes(), Ordering::Relaxed);
    let _ = shared.text.set((Arc::clone(&text), decoder.context()));
    {
        let mut state = shared.lock();
        // A shutdown may have come while the model was loading.
        if state.phase == Phase::Loading {
            state.phase = Phase::Ready;
        }
    }
    tracing::info!(
        context = decoder.context(),
        weights = decoder.bytes(),
        "ready"
    );
    serve(shared, &decoder, &text);
    Ok(())
}

fn serve(shared: &Shared, decoder: &Decoder, text: &Text) {
    let mut running: Vec<Running> = Vec::new();
    while let Some(next) = shared.next(running.len()) {
        running.extend(
            next.into_iter()
                .filter_map(|job| begin(shared, decoder, job)),
        );
        shared.show(&running);
        // Inside the device's thread pool, so that it stays awake for the many short products of a step.
        let ended = decoder
            .device()
            .with_context(|| step_all(&mut running, decoder, text, shared));
        shared.show(&running);
        for (job, terminal) in ended {
            shared.end(job, terminal);
        }
    }
    for job in running {
        let terminal = job.fail(deadline());
        shared.end(job, terminal);
    }
    let waiting = std::mem::take(&mut shared.lock().waiting);
    for job in waiting {
        shared.forget(&job.id);
        job.fail_unstarted(deadline(), &shared.metrics);
    }
}

/// Moves each request one step; takes out those that ended, with their terminal events.
fn step_all(
    running: &mut Vec<Running>,
    decoder: &Decoder,
    text: &Text,
    shared: &Shared,
) -> Vec<(Running, StreamEvent)> {
    let mut ended = Vec::new();
    for mut job in std::mem::take(running) {
        match job.step(decoder, text, &shared.memory()) {
            None => running.push(job),
            Some(terminal) => ended.push((job, terminal)),
        }
    }
    ended
}

fn begin(shared: &Shared, decoder: &Decoder, job: Job) -> Option<Running> {
    let id = job.id.clone();
    let begun = Running::begin(job, &shared.model, decoder, &shared.metrics);
    if begun.is_none() {
        shared.forget(&id);
    }
    begun
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

    /// Frees what a request holds, then sends its terminal event.
    fn end(&self, job: Running, terminal: StreamEvent) {
        let (id, events) = job.into_end();
        self.forget(&id);
        let _ = events.send(terminal.into());
    }

    fn show(&self, running: &[Running]) {
        self.busy.store(running.len() as u32, Ordering::Relaxed);
        let kv = running.iter().map(Running::kv_bytes).sum();
        self.kv.store(kv, Ordering::Relaxed);
    }

    fn forget(&self, id: &str) {
        let mut state = self.lock();
        state.cancelled.remove(id);
        self.count_jobs(&state);
    }
}
