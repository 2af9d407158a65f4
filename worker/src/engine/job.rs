//! One request: what was asked, and how far the answer is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http_front::{Array, KeyValue, Trace, Value};
use jiff::Timestamp;
use pool_core::name::ModelId;
use pool_core::serving::{End, Failure, FailureCode, MemoryUse, Sampling, StopReason, StreamEvent};
use tokio::sync::mpsc::UnboundedSender;

use super::sampler::{NoToken, Sampler};
use super::{TokenLogprob, Update};
use crate::metrics::{Metrics, Outcome};
use crate::model::{Sequence, Span, Wanted};
use crate::text::{Detokenizer, StopMatcher, Text};

/// A request, checked: `prompt` and `max_tokens` fit the context together, neither is zero.
pub struct Job {
    pub id: String,
    pub correlation_id: String,
    /// The span of its request.
    pub trace: Trace,
    pub prompt: Vec<u32>,
    pub max_tokens: usize,
    pub sampling: Sampling,
    pub seed: u64,
    pub stop: Vec<String>,
    /// Tell how likely each token was, and as many of the likeliest ones at its place.
    pub logprobs: Option<usize>,
    /// Keys and values computed for one owner are never used for another.
    pub owner: u64,
    /// When the request arrived.
    pub submitted: Instant,
    /// Where the answer goes. Unbounded, because the thread must not wait for a slow client; it never holds
    /// more than one answer. When its other end is gone, so is the client.
    pub events: UnboundedSender<Update>,
    /// Set from outside to end the request before its next step.
    pub cancelled: Arc<AtomicBool>,
}

impl Job {
    /// Nobody wants the answer.
    pub(super) fn is_abandoned(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) || self.events.is_closed()
    }

    pub(super) fn end_unstarted(self, metrics: &Metrics) {
        self.fail_unstarted(cancelled(), metrics);
    }

    pub(super) fn fail_unstarted(self, failure: Failure, metrics: &Metrics) {
        metrics.ended(outcome_of(&failure), self.submitted.elapsed(), 0, 0);
        tracing::info!(job_id = ?self.id, correlation_id = self.correlation_id, outcome = %failure.code, "request ended in the queue");
        trace_failure(&self.trace, failure.code);
        let _ = self.events.send(StreamEvent::Error(failure).into());
    }
}

fn outcome_of(failure: &Failure) -> Outcome {
    match failure.code {
        FailureCode::Cancelled => Outcome::Abort,
        _ => Outcome::Error,
    }
}

fn trace_failure(trace: &Trace, code: FailureCode) {
    match code {
        FailureCode::Cancelled => trace.set(|| vec![KeyValue::new("rbee.outcome", "cancelled")]),
        code => trace.fail(code.as_str()),
    }
}

pub(super) fn cancelled() -> Failure {
    Failure {
        code: FailureCode::Cancelled,
        message: "the request was cancelled".to_owned(),
        retriable: false,
    }
}

/// Tokens between two `metrics` events.
const METRICS_EVERY: u64 = 16;

/// What a step says of the next token.
pub(super) enum Next<'a> {
    Likeliest(Option<u32>),
    Logits(&'a [f32]),
}

/// A request that has a slot.
pub(super) struct Running {
    job: Job,
    metrics: Arc<Metrics>,
    pub sequence: Sequence,
    /// Tokens of the prompt that were there already.
    cached: usize,
    sampler: Sampler,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    tokens_out: u64,
    pieces: u64,
    /// Of the tokens whose text is not out yet.
    logprobs: Vec<TokenLogprob>,
    started: Instant,
    first_token: Option<Instant>,
    last_token: Instant,
}

impl Running {
    /// A request in its slot, which holds the first `cached` tokens of its prompt.
    pub fn begin(
        job: Job,
        model: &ModelId,
        slot: usize,
        cached: usize,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let started = StreamEvent::Started {
            job_id: job.id.clone(),
            model: model.clone(),
            seed: job.seed,
            started_at: Timestamp::now(),
        };
        let _ = job.events.send(started.into());
        metrics.begun();
        Self {
            metrics: Arc::clone(metrics),
            sequence: Sequence::new(slot, job.prompt.clone(), cached),
            cached,
            sampler: Sampler::new(job.sampling, job.seed, &job.prompt),
            detokenizer: Detokenizer::default(),
            stops: StopMatcher::new(job.stop.clone()),
            tokens_out: 0,
            pieces: 0,
            logprobs: Vec::new(),
            started: Instant::now(),
            first_token: None,
            last_token: Instant::now(),
            job,
        }
    }

    pub fn is_abandoned(&self) -> bool {
        self.job.is_abandoned()
    }

    /// Whether a token was ever chosen.
    pub fn has_token(&self) -> bool {
        self.first_token.is_some()
    }

    pub fn time(&self) -> Duration {
        self.started.elapsed()
    }

    /// The next tokens to compute, at most `most`, and what is wanted of them.
    pub fn span(&self, most: usize) -> Span<'_> {
        let mut span = self.sequence.span(most);
        let is_enough = self.sampler.takes_likeliest() && self.job.logprobs.is_none();
        if is_enough && span.wanted == Wanted::Last {
            span.wanted = Wanted::Likeliest;
        }
        span
    }

    /// Chooses what comes next; returns the terminal event when nothing does.
    ///
    /// The caller sends that event, after it freed the slot: who reads it may count on the slot.
    pub fn choose(
        &mut self,
        next: Next<'_>,
        text: &Text,
        memory: &MemoryUse,
    ) -> Option<StreamEvent> {
        let chosen = match next {
            Next::Likeliest(token) => token.ok_or(NoToken),
            Next::Logits(logits) => self.sample(logits),
        };
        match chosen {
            Ok(token) => self.take(token, text, memory),
            Err(error) => Some(self.fail(internal(error.to_string()))),
        }
    }

    fn sample(&mut self, logits: &[f32]) -> Result<u32, NoToken> {
        let token = self.sampler.sample(logits)?;
        if let Some(top) = self.job.logprobs {
            let logprob = self.sampler.logprob(logits, token, top);
            self.logprobs.push(logprob);
        }
        Ok(token)
    }

    /// The model chose a token.
    fn take(&mut self, token: u32, text: &Text, memory: &MemoryUse) -> Option<StreamEvent> {
        let now = Instant::now();
        if self.first_token.is_none() {
            self.first_token = Some(now);
            self.metrics.first_token(now - self.job.submitted);
        } else {
            self.metrics.token(now - self.last_token);
        }
        self.last_token = now;
        if text.is_eos(token) {
            // What ends the answer is not part of it.
            self.logprobs.pop();
            return Some(self.end(StopReason::Eos, text));
        }
        self.sequence.push(token);
        self.tokens_out += 1;
        let piece = self.detokenizer.push(token, text);
        if let Some(stop) = self.tell(&piece) {
            return Some(self.ended(StopReason::StopSequence, Some(stop)));
        }
        if self.tokens_out == self.job.max_tokens as u64 {
            return Some(self.end(StopReason::MaxTokens, text));
        }
        if self.tokens_out.is_multiple_of(METRICS_EVERY) {
            self.send(StreamEvent::Metrics {
                tokens_out: self.tokens_out,
                decode_time_ms: self.decode_time_ms(),
                memory_bytes: memory.total,
            });
        }
        None
    }

    /// No token follows: what was held back goes out, unless it holds a stop text after all.
    fn end(&mut self, reason: StopReason, text: &Text) -> StreamEvent {
        let rest = self.detokenizer.flush(text);
        if let Some(stop) = self.tell(&rest) {
            return self.ended(StopReason::StopSequence, Some(stop));
        }
        let held = self.stops.flush();
        self.send_text(held);
        self.ended(reason, None)
    }

    /// Passes text on as far as no stop text can begin in it; returns the stop text that it reached.
    fn tell(&mut self, piece: &str) -> Option<String> {
        let checked = self.stops.push(piece);
        self.send_text(checked.text);
        checked.stop
    }

    fn send_text(&mut self, t: String) {
        if !t.is_empty() {
            let i = self.pieces;
            self.pieces += 1;
            let tokens = std::mem::take(&mut self.logprobs);
            let event = StreamEvent::Token { t, i };
            let _ = self.job.events.send(Update { event, tokens });
        }
    }

    fn ended(&self, stop_reason: StopReason, stop_sequence: Option<String>) -> StreamEvent {
        self.log(stop_reason.as_str());
        let (outcome, word) = match stop_reason {
            StopReason::Eos | StopReason::StopSequence => (Outcome::Stop, "stop"),
            StopReason::MaxTokens => (Outcome::Length, "length"),
        };
        self.count(outcome);
        self.trace();
        self.job.trace.set(|| {
            let reasons = Array::String(vec![word.into()]);
            let reasons = Value::Array(reasons);
            vec![KeyValue::new("gen_ai.response.finish_reasons", reasons)]
        });
        StreamEvent::End(End {
            tokens_in: self.job.prompt.len() as u64,
            tokens_cached: self.cached as u64,
            tokens_out: self.tokens_out,
            prefill_time_ms: milliseconds(self.started, self.first_token.unwrap_or(self.started)),
            decode_time_ms: self.decode_time_ms(),
            stop_reason,
            stop_sequence,
        })
    }

    /// The terminal event of a request without a whole answer.
    pub fn fail(&self, failure: Failure) -> StreamEvent {
        self.log(failure.code.as_str());
        self.count(outcome_of(&failure));
        self.trace();
        trace_failure(&self.job.trace, failure.code);
        StreamEvent::Error(failure)
    }

    /// What remains of a request after its last step: its id, and where its terminal event goes.
    pub fn into_end(self) -> (String, UnboundedSender<Update>) {
        (self.job.id, self.job.events)
    }

    fn count(&self, outcome: Outcome) {
        let e2e = self.job.submitted.elapsed();
        let tokens_in = self.job.prompt.len() as u64;
        self.metrics.ended(outcome, e2e, tokens_in, self.tokens_out);
    }

    /// When the prompt was read and when the answer was written.
    fn trace(&self) {
        let (trace, now) = (&self.job.trace, Instant::now());
        let first = self.first_token.unwrap_or(now);
        let tokens_in = KeyValue::new(
            "gen_ai.usage.input_tokens",
            self.job.prompt.len().cast_signed() as i64,
        );
        let tokens_out = KeyValue::new("gen_ai.usage.output_tokens", self.tokens_out.cast_signed());
        trace.past("prefill", (self.started, first), || {
            let cached = self.cached.cast_signed() as i64;
            let cached = KeyValue::new("gen_ai.usage.cache_read.input_tokens", cached);
            vec![tokens_in.clone(), cached]
        });
        if self.first_token.is_some() {
            trace.past("decode", (first, now), || vec![tokens_out.clone()]);
        }
        trace.set(|| vec![tokens_in, tokens_out]);
    }

    fn log(&self, outcome: &str) {
        tracing::info!(
            job_id = ?self.job.id,
            correlation_id = self.job.correlation_id,
            outcome,
            tokens_in = self.job.prompt.len(),
            tokens_out = self.tokens_out,
            ms = milliseconds(self.started, Instant::now()),
            "request ended"
        );
    }

    fn decode_time_ms(&self) -> f64 {
        self.first_token
            .map_or(0.0, |first| milliseconds(first, Instant::now()))
    }

    /// A client that is gone is noticed before the next step.
    fn send(&self, event: StreamEvent) {
        let _ = self.job.events.send(event.into());
    }
}

/// With three decimals.
fn milliseconds(from: Instant, to: Instant) -> f64 {
    to.saturating_duration_since(from).as_micros() as f64 / 1000.0
}

fn internal(message: String) -> Failure {
    Failure {
        code: FailureCode::Internal,
        message,
        retriable: false,
    }
}

pub(super) fn computing_failed(error: &candle_core::Error) -> Failure {
    let message = error.to_string();
    tracing::error!(error = message, "a step failed");
    // CUDA and Metal have no error kind of their own for it in candle.
    if message.to_lowercase().contains("out of memory") {
        return Failure {
            code: FailureCode::OutOfMemory,
            message: "the device has no memory left for this request".to_owned(),
            retriable: true,
        };
    }
    internal("the model could not be computed".to_owned())
}
