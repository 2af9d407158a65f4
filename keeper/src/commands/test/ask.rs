//! The questions of one cell, and what a worker has to do right.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pool_core::serving::{
    Answer, End, ExecuteRequest, FailureCode, Input, Message, Sampling, StopReason, StreamEvent,
    StreamFault,
};
use reconciler::fleet::{AnswerPattern, Check};

use crate::failure::Failure;
use crate::report::support::{Assertion, Measured};
use crate::stream::{Asked, Broken};

/// Tokens of an answer, where the check does not say.
const TOKENS: u32 = 64;
/// How long a cancelled request may go on, beside two steps of the worker.
const CANCEL: Duration = Duration::from_secs(1);
/// How long an answer may take.
const LONGEST: Duration = Duration::from_mins(5);
/// Answers that may end before they can be cancelled.
const TRIES: u64 = 5;

/// A question, and what is right.
#[derive(Debug, Clone)]
pub struct Question {
    prompt: String,
    expect: Option<String>,
    pattern: Option<AnswerPattern>,
    max_tokens: u32,
}

/// What a worker did wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    pub assertion: Assertion,
    pub why: String,
}

fn wrong(assertion: Assertion, why: impl Into<String>) -> Wrong {
    let why = why.into();
    Wrong { assertion, why }
}

impl Question {
    pub fn of(check: &Check) -> Self {
        Self {
            prompt: check.prompt.value.clone(),
            expect: check.expect.as_ref().map(|text| text.value.clone()),
            pattern: check.pattern.as_ref().map(|regex| regex.value.clone()),
            max_tokens: check.max_tokens.as_ref().map_or(TOKENS, |most| most.value),
        }
    }

    /// One of which nothing but a whole answer is expected.
    pub fn any() -> Self {
        Self {
            prompt: "Which day comes after Monday?".to_owned(),
            expect: None,
            pattern: None,
            max_tokens: 16,
        }
    }

    pub fn prompt(&self) -> &str {
        &self.prompt
    }

    fn judge(&self, text: &str) -> Result<(), Wrong> {
        let expected = self
            .expect
            .as_ref()
            .filter(|expect| !text.contains(*expect));
        if let Some(expect) = expected {
            let why = format!("expected {expect:?}, the answer is {text:?}");
            return Err(wrong(Assertion::Answer, why));
        }
        let pattern = self.pattern.as_ref().filter(|regex| !regex.is_match(text));
        if let Some(pattern) = pattern {
            let why = format!("expected /{pattern}/, the answer is {text:?}");
            return Err(wrong(Assertion::Answer, why));
        }
        Ok(())
    }
}

/// Asks all that a cell asks: the question, another one, and both again; for one token of it; and for an answer that is
/// cancelled. Whether the other answer is right, its own cell tells.
pub async fn cell(
    worker: &Asked,
    question: &Question,
    other: &Question,
) -> Result<Measured, Wrong> {
    let (first, first_token) = right(worker, question).await?;
    let (between, _) = whole(worker, other).await?;
    for (question, before) in [(question, &first), (other, &between)] {
        let (again, _) = whole(worker, question).await?;
        if again.text != before.text {
            let (asked, one, two) = (&question.prompt, &before.text, &again.text);
            let why =
                format!("asked {asked:?} it answers {one:?}, and after another question {two:?}");
            return Err(wrong(Assertion::Repeat, why));
        }
    }
    one_token(worker, question, &first.text).await?;
    let cancelled = cancelled(worker, question, &first.end).await?;
    let health = worker.health().await;
    let health = health.map_err(|failure| wrong(Assertion::Ready, failure.report().what))?;
    Ok(Measured {
        first_token_ms: first_token.as_secs_f64() * 1000.0,
        tokens_per_s: first.end.tokens_per_second(),
        cancel_ms: cancelled.map(|time| time.as_secs_f64() * 1000.0),
        load_ms: None,
        memory: health.memory.total,
    })
}

/// The right answer to a question, and how long its first token took.
async fn right(worker: &Asked, question: &Question) -> Result<(Answer, Duration), Wrong> {
    let (answer, first_token) = whole(worker, question).await?;
    question.judge(&answer.text)?;
    Ok((answer, first_token))
}

/// A whole answer, right or wrong, and how long its first token took.
async fn whole(worker: &Asked, question: &Question) -> Result<(Answer, Duration), Wrong> {
    let request = request(question, question.max_tokens);
    let begun = Instant::now();
    let mut first_token = None;
    let answer = worker.ask(&request, |_| {
        first_token.get_or_insert_with(|| begun.elapsed());
    });
    let answer = tokio::time::timeout(LONGEST, answer).await;
    let answer = answer.unwrap_or_else(|_| {
        let seconds = LONGEST.as_secs();
        Err(Failure::new(format!("no end within {seconds} s")))
    });
    let answer = answer.map_err(|failure| wrong(Assertion::Stream, failure.report().what))?;
    let Some(first_token) = first_token.filter(|_| answer.end.tokens_out > 0) else {
        return Err(wrong(Assertion::Tokens, "the answer has no token"));
    };
    check_stop(&answer.end, question.max_tokens)?;
    Ok((answer, first_token))
}

/// Neither ends too late, nor for want of tokens that it had.
fn check_stop(end: &End, most: u32) -> Result<(), Wrong> {
    let (tokens, reason, most) = (end.tokens_out, end.stop_reason, u64::from(most));
    let is_right = match reason {
        StopReason::Eos => tokens <= most,
        StopReason::MaxTokens => tokens == most,
        StopReason::StopSequence => false,
    };
    if is_right {
        return Ok(());
    }
    let why = format!("{tokens} tokens of at most {most} ended with {reason}");
    Err(wrong(Assertion::Stop, why))
}

/// Asked for one token, it answers with the first of the whole answer.
async fn one_token(worker: &Asked, question: &Question, whole: &str) -> Result<(), Wrong> {
    let answer = worker.ask(&request(question, 1), |_| ()).await;
    let answer = answer.map_err(|failure| wrong(Assertion::Stream, failure.report().what))?;
    check_stop(&answer.end, 1)?;
    // A token may be a part of a character, which is told by U+FFFD when no more comes.
    let text = answer.text.trim_end_matches('\u{fffd}');
    if whole.starts_with(text) {
        return Ok(());
    }
    let why = format!("asked for one token it answers {text:?}, for more {whole:?}");
    Err(wrong(Assertion::Repeat, why))
}

/// How long it took from the cancellation to the end; none where every answer ended before it came.
async fn cancelled(
    worker: &Asked,
    question: &Question,
    measured: &End,
) -> Result<Option<Duration>, Wrong> {
    let step = measured.decode_time_ms / measured.tokens_out.max(1) as f64;
    let bound = CANCEL + Duration::from_secs_f64(2.0 * step / 1000.0);
    for seed in 1..=TRIES {
        // As improbable as can be, so that it goes on for long.
        let request = ExecuteRequest {
            job_id: job_id(),
            input: Input::Prompt(question.prompt.clone()),
            max_tokens: None,
            sampling: Sampling {
                temperature: 2.0,
                seed: Some(seed),
                ..Sampling::default()
            },
            stop: Vec::new(),
            cache_salt: None,
        };
        let ended = cancel(worker, &request, bound).await;
        if let Some(time) =
            ended.map_err(|failure| wrong(Assertion::Cancel, failure.report().what))?
        {
            if time <= bound {
                return Ok(Some(time));
            }
            let (time, bound) = (time.as_millis(), bound.as_millis());
            let why =
                format!("the stream ended {time} ms after it was cancelled, not within {bound} ms");
            return Err(wrong(Assertion::Cancel, why));
        }
    }
    Ok(None)
}

/// Cancels a request once it has its first token. How long its stream went on; none where it ended by itself in time.
async fn cancel(
    worker: &Asked,
    request: &ExecuteRequest,
    bound: Duration,
) -> Result<Option<Duration>, Failure> {
    let mut stream = worker.begin(request).await?;
    loop {
        match stream.next().await? {
            Some(StreamEvent::Token { .. }) => break,
            Some(_) => {}
            None => {
                stream.finish().map_err(Broken::from)?;
                return Ok(None);
            }
        }
    }
    let begun = Instant::now();
    let rest = async {
        worker.cancel(&request.job_id).await?;
        while stream.next().await?.is_some() {}
        Ok::<_, Failure>(begun.elapsed())
    };
    let Ok(ended) = tokio::time::timeout(bound * 4, rest).await else {
        let seconds = (bound * 4).as_secs();
        let what = format!("the stream goes on {seconds} s after it was cancelled");
        return Err(Failure::new(what));
    };
    let time = ended?;
    match stream.finish() {
        Err(StreamFault::Failed(failure)) if failure.code == FailureCode::Cancelled => {
            Ok(Some(time))
        }
        Ok(_) if time <= bound => Ok(None),
        Ok(_) => Ok(Some(time)),
        Err(fault) => Err(Broken::from(fault).into()),
    }
}

fn request(question: &Question, max_tokens: u32) -> ExecuteRequest {
    ExecuteRequest {
        job_id: job_id(),
        input: Input::Messages(vec![Message {
            role: "user".into(),
            content: question.prompt.clone(),
        }]),
        max_tokens: Some(max_tokens),
        sampling: Sampling::greedy(),
        stop: Vec::new(),
        cache_salt: None,
    }
}

/// Unlike that of any other request that is under way.
fn job_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("test-{process}-{number}")
}
