//! The engine with networks that do what a test wants.

use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use candle_core::Result;
use http_front::Trace;
use pool_core::serving::{FailureCode, Sampling};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::model::{Computed, Config, Memory, Network, Span, Wanted};
use crate::text::Detokenizer;

/// Rows of each step: its slot, position and number of tokens.
type Step = Vec<(usize, usize, usize)>;

/// Says the token after the last one, and takes each step only when it is told to.
struct Scripted {
    config: Config,
    slots: usize,
    go: Receiver<()>,
    steps: Arc<Mutex<Vec<Step>>>,
    logits: Vec<f32>,
    likeliest: Vec<Option<u32>>,
}

const CONTEXT: usize = 4096;

/// A token whose logits are no numbers.
const SPOILT: u32 = 700;

/// How a slot that was cleared stands among the spans of steps, with the position from which on.
const CLEARED: usize = usize::MAX;

impl Network for Scripted {
    fn forward(&mut self, spans: &[Span<'_>]) -> Result<Computed<'_>> {
        if self.go.recv().is_err() {
            candle_core::bail!("the device is out of memory");
        }
        let step = spans.iter().map(|s| (s.slot, s.position, s.tokens.len()));
        self.steps.lock().unwrap().push(step.collect());
        self.logits.clear();
        self.likeliest.clear();
        for span in spans {
            let next = (span.position + span.tokens.len()) % self.config.vocab;
            let is_spoilt = span.tokens.contains(&SPOILT);
            let least = if is_spoilt { f32::NAN } else { 0.0 };
            let row = (0..self.config.vocab).map(|id| if id == next { 1.0 + least } else { least });
            match span.wanted {
                Wanted::None => {}
                Wanted::Likeliest => self.likeliest.push((!is_spoilt).then_some(next as u32)),
                Wanted::Last | Wanted::All => self.logits.extend(row),
            }
        }
        Ok(Computed {
            logits: &self.logits,
            likeliest: &self.likeliest,
        })
    }

    fn copy(&mut self, _from: usize, _to: usize, _positions: usize) -> Result<()> {
        Ok(())
    }

    fn clear(&mut self, slot: usize, from: usize) -> Result<()> {
        self.steps.lock().unwrap().push(vec![(slot, CLEARED, from)]);
        Ok(())
    }

    fn config(&self) -> &Config {
        &self.config
    }

    fn context(&self) -> usize {
        CONTEXT
    }

    fn slots(&self) -> usize {
        self.slots
    }

    fn memory(&self) -> Memory {
        Memory {
            weights: 1,
            kv: 2,
            scratch: 3,
        }
    }
}

struct Lab {
    engine: Engine,
    go: Sender<()>,
    steps: Arc<Mutex<Vec<Step>>>,
}

fn lab(slots: u32) -> Lab {
    let (go, told) = channel();
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let limits = Limits { slots, waiting: 4 };
    let load = move |_: &dyn Fn(u8)| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models/tiny-llama");
        let config = Config::read(&dir)?;
        let text = Text::read(&dir, &config)?;
        let network = Box::new(Scripted {
            config,
            slots: slots as usize,
            go: told,
            steps: seen,
            logits: Vec::new(),
            likeliest: Vec::new(),
        });
        Ok(Model { text, network })
    };
    let arguments = ["llm-worker-rbee", "--model-dir", "tiny"];
    let metrics = Arc::new(Metrics::new(&crate::args::parse(arguments).unwrap()));
    let (engine, _) = Engine::start("tiny".parse().unwrap(), limits, metrics, load).unwrap();
    while engine.phase() == Phase::Loading {
        std::thread::yield_now();
    }
    Lab { engine, go, steps }
}

impl Lab {
    fn submit(&self, id: &str, prompt: Vec<u32>, max_tokens: usize) -> UnboundedReceiver<Update> {
        self.submit_with(id, prompt, max_tokens, None)
    }

    fn submit_with(
        &self,
        id: &str,
        prompt: Vec<u32>,
        max_tokens: usize,
        logprobs: Option<usize>,
    ) -> UnboundedReceiver<Update> {
        let (events, receiver) = unbounded_channel();
        let job = Job {
            id: id.to_owned(),
            correlation_id: String::new(),
            trace: Trace::default(),
            prompt,
            max_tokens,
            sampling: Sampling::greedy(),
            seed: 0,
            stop: Vec::new(),
            logprobs,
            owner: 0,
            submitted: Instant::now(),
            events,
            cancelled: Arc::default(),
        };
        self.engine.submit(job).unwrap();
        receiver
    }

    /// Allows so many steps, and waits until they are done.
    fn steps(&self, count: usize) {
        let before = self.steps.lock().unwrap().len();
        (0..count).for_each(|_| self.go.send(()).unwrap());
        while self.steps.lock().unwrap().len() < before + count {
            std::thread::yield_now();
        }
    }
}

fn failure(events: &mut UnboundedReceiver<Update>) -> FailureCode {
    loop {
        match events.blocking_recv().unwrap().event {
            StreamEvent::Error(failure) => return failure.code,
            event => assert!(!event.is_terminal(), "{event:?}"),
        }
    }
}

#[test]
fn prompts_come_in_pieces_and_answers_go_on_meanwhile() {
    let lab = lab(4);
    let _short = lab.submit("short", vec![7; 3], 100);
    lab.steps(1);
    let _long = lab.submit("long", vec![8; 1000], 100);
    let _other = lab.submit("other", vec![9; 20], 100);
    lab.steps(12);
    let steps = lab.steps.lock().unwrap().clone();
    assert_eq!(steps[0], [(0, 0, 3)]);
    for (n, step) in steps.iter().enumerate().skip(1) {
        // The answer makes a token in every step, whatever else is in it.
        assert_eq!(step[0], (0, 2 + n, 1));
        let prompts: usize = step[1..].iter().map(|(_, _, count)| count).sum();
        assert!(prompts <= crate::model::MOST_ROWS, "{step:?}");
    }
    // The small prompt is whole after a few steps, the large one is not kept waiting for it.
    let of = |slot| steps.iter().flatten().filter(move |s| s.0 == slot);
    let long = of(1).take(3).map(|s| s.2).collect::<Vec<_>>();
    assert!(long.iter().all(|&count| count >= 8), "{long:?}");
    assert!(of(2).take(3).map(|s| s.2).sum::<usize>() >= 20);
}

#[test]
fn a_cancelled_request_is_out_before_the_next_step() {
    let lab = lab(2);
    let mut first = lab.submit("first", vec![7; 3], 100);
    let _second = lab.submit("second", vec![8; 3], 100);
    lab.steps(3);
    lab.engine.cancel("first");
    lab.steps(2);
    assert_eq!(failure(&mut first), FailureCode::Cancelled);
    let steps = lab.steps.lock().unwrap().clone();
    // One step may have been waiting for its turn already.
    assert!(steps.last().unwrap().iter().all(|&(slot, ..)| slot == 1));
}

/// Of a prompt that is not whole nobody knows whether it led to numbers.
#[test]
fn what_is_left_of_an_abandoned_prompt_is_cleared_behind_what_the_next_uses_of_it() {
    let lab = lab(1);
    let mut first = lab.submit("first", vec![7; 3000], 10);
    lab.steps(1);
    lab.engine.cancel("first");
    // A step may have been waiting for its turn already.
    lab.go.send(()).unwrap();
    assert_eq!(failure(&mut first), FailureCode::Cancelled);
    let mut next = lab.submit("next", vec![7; 3000], 1);
    (0..40).for_each(|_| lab.go.send(()).unwrap());
    while !next.blocking_recv().unwrap().event.is_terminal() {}
    let steps = lab.steps.lock().unwrap().clone();
    let cleared = steps.iter().position(|step| step[0].1 == CLEARED).unwrap();
    let (_, last, count) = steps[cleared - 1][0];
    assert_eq!(steps[cleared], [(0, CLEARED, last + count)]);
    assert_eq!(steps[cleared + 1][0].1, last + count);
}

#[test]
fn a_step_that_fails_ends_what_was_in_it_and_nothing_else() {
    let lab = lab(1);
    let mut events = lab.submit("a", vec![7; 3], 10);
    drop(lab.go);
    assert_eq!(failure(&mut events), FailureCode::OutOfMemory);
    assert_eq!(lab.engine.phase(), Phase::Ready);
}

#[test]
fn what_led_to_no_number_is_cleared_and_not_used_again() {
    let lab = lab(1);
    for id in ["a", "b"] {
        let mut events = lab.submit(id, vec![7, 7, SPOILT], 10);
        lab.go.send(()).unwrap();
        assert_eq!(failure(&mut events), FailureCode::Internal);
    }
    let steps = lab.steps.lock().unwrap().clone();
    let whole = vec![(0, 0, 3)];
    let cleared = vec![(0, CLEARED, 0)];
    assert_eq!(steps[..3], [whole.clone(), cleared, whole]);
}

/// Logits and likeliest tokens come in lists of their own.
#[test]
fn each_answer_gets_what_it_wanted_of_a_step() {
    let prompts = [(3, None), (9, Some(2)), (14, None), (25, Some(0))];
    let lab = lab(4);
    let answers = prompts.map(|(length, logprobs)| {
        let id = length.to_string();
        let events = lab.submit_with(&id, vec![7; length], 4, logprobs);
        (length, logprobs, events)
    });
    (0..40).for_each(|_| lab.go.send(()).unwrap());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/models/tiny-llama");
    let text = Text::read(&dir, &Config::read(&dir).unwrap()).unwrap();
    for (length, logprobs, mut events) in answers {
        let mut tokens = Vec::new();
        let mut said = String::new();
        while let Some(update) = events.blocking_recv() {
            tokens.extend(
                update
                    .tokens
                    .iter()
                    .map(|token| (token.id, token.top.len())),
            );
            if let StreamEvent::Token { t, .. } = update.event {
                said.push_str(&t);
            }
        }
        let expected: Vec<u32> = (0..4).map(|n| (length + n) as u32).collect();
        let told = expected.iter().map(|&id| (id, logprobs.unwrap_or(0)));
        let told: Vec<_> = told.filter(|_| logprobs.is_some()).collect();
        assert_eq!(tokens, told);
        let mut detokenizer = Detokenizer::default();
        let whole: String = expected
            .iter()
            .map(|&id| detokenizer.push(id, &text))
            .collect();
        assert_eq!(said, whole + &detokenizer.flush(&text));
    }
}

#[test]
fn a_step_that_does_not_come_back_is_noticed() {
    let clock = Clock::default();
    assert!(!clock.is_stalled(1_000_000));
    clock.step_began.store(1000, Ordering::Relaxed);
    assert!(!clock.is_stalled(11_000));
    assert!(clock.is_stalled(11_001));
    clock.step.store(2000, Ordering::Relaxed);
    assert!(!clock.is_stalled(41_000));
    assert!(clock.is_stalled(41_001));
}

#[test]
fn slots_and_what_they_hold_are_counted() {
    let lab = lab(2);
    let _first = lab.submit("first", vec![7; 5], 100);
    lab.steps(3);
    // The engine counts after each step; the next one waits for its turn.
    while lab.engine.load().kv_tokens != 7 {
        std::thread::yield_now();
    }
    let load = lab.engine.load();
    assert_eq!((load.running, load.waiting), (1, 0));
    assert_eq!(load.kv_capacity, 2 * CONTEXT as u64);
    assert_eq!(load.retry_after, Duration::from_secs(1));
    let memory = lab.engine.memory();
    assert_eq!((memory.weights, memory.kv, memory.total), (1, 2, 6));
}
