//! Workers, their speed and their faults.

use std::collections::VecDeque;

use fastrand::Rng;
use jiff::Timestamp;
use pool_core::device::Device;
use pool_core::serving::{End, Failure, FailureCode, StopReason, StreamEvent};

use super::client::{self, Client};
use crate::core::relay::FRAME_MOST;
use crate::core::{AttemptError, Condition, WorkerInfo, WorkerKey};

#[derive(Debug)]
pub(super) struct Worker {
    pub id: WorkerKey,
    model: usize,
    pub slots: u32,
    /// Slots that somebody else uses.
    pub foreign: u32,
    pub running: u32,
    /// Milliseconds for one token.
    pace: f64,
    pub is_down: bool,
    /// It says that it is ready, and fails every request.
    pub lies: bool,
}

/// What comes of a request, piece by piece: milliseconds after the piece before.
pub(super) type Course = VecDeque<(u64, Piece)>;

#[derive(Debug)]
pub(super) enum Piece {
    Bytes(Vec<u8>),
    Error(AttemptError),
    /// The connection is closed.
    Close,
}

/// What goes wrong with one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Status(u16),
    Hang,
    HangLater,
    Cut,
    Garbage,
    Gap,
    TwoEnds,
    NoEnd,
    Oversized,
    Error { retriable: bool },
    Slow,
}

const FAULTS: [Fault; 15] = [
    Fault::Status(500),
    Fault::Status(503),
    Fault::Status(429),
    Fault::Status(400),
    Fault::Hang,
    Fault::HangLater,
    Fault::Cut,
    Fault::Garbage,
    Fault::Gap,
    Fault::TwoEnds,
    Fault::NoEnd,
    Fault::Oversized,
    Fault::Error { retriable: true },
    Fault::Error { retriable: false },
    Fault::Slow,
];

/// How likely a request goes wrong.
const FAULTY: f64 = 0.05;

impl Worker {
    pub fn new(rng: &mut Rng, number: usize) -> Self {
        Self {
            id: format!("pool/w{number:03}").into(),
            model: number % client::MODELS.len(),
            slots: rng.u32(1..=8),
            foreign: 0,
            running: 0,
            pace: 5.0 + 40.0 * rng.f64(),
            is_down: false,
            lies: false,
        }
    }

    /// Tasks in a millisecond, with every slot in use.
    pub fn capacity(&self) -> f64 {
        let mean_answer = 16.0;
        f64::from(self.slots) / ((mean_answer + PREFILL * 128.0) * self.pace)
    }

    pub fn info(&self) -> WorkerInfo {
        WorkerInfo {
            id: self.id.clone(),
            model: client::model(self.model),
            digest: None,
            pool: "pool".into(),
            device: Device::Cpu,
            url: String::new(),
            slots: self.slots,
            busy: self.running + self.foreign,
            memory_free: 0,
            context_length: 512,
            us_per_token: Some((self.pace * 1000.0) as u64),
        }
    }

    /// What a probe finds.
    pub fn condition(&self) -> Condition {
        if self.is_down {
            Condition::Unreachable
        } else {
            Condition::Ready
        }
    }

    /// Takes a request.
    pub fn execute(&self, rng: &mut Rng, client: &Client, faults: f64) -> Course {
        let error = |ms, error| Course::from([(ms, Piece::Error(error))]);
        let status = |status| AttemptError::Status {
            status,
            message: "as the seed wants".into(),
        };
        if self.is_down {
            let message = "refused".into();
            return error(1, AttemptError::Connect { message });
        }
        if self.lies {
            return error(2, status(500));
        }
        if self.running + self.foreign > self.slots {
            return error(2, status(429));
        }
        let fault = (rng.f64() < FAULTY * faults).then(|| FAULTS[rng.usize(..FAULTS.len())]);
        match fault {
            Some(Fault::Status(code)) => error(5, status(code)),
            Some(Fault::Hang) => Course::new(),
            _ => self.stream(rng, client, fault),
        }
    }

    fn stream(&self, rng: &mut Rng, client: &Client, fault: Option<Fault>) -> Course {
        let tokens = client.answer;
        let slow = if fault == Some(Fault::Slow) { 8.0 } else { 1.0 };
        let ms = slow * self.pace * (PREFILL * client.task.tokens_in as f64 + tokens as f64);
        let mut bytes = Vec::new();
        let mut id = 0;
        let mut write = |bytes: &mut Vec<u8>, event: &StreamEvent| {
            bytes.extend_from_slice(event.to_frame(id).to_string().as_bytes());
            id += 1;
        };
        write(&mut bytes, &started(client));
        // Nobody can see that the last one is missing.
        let skipped = (fault == Some(Fault::Gap) && tokens > 1).then(|| rng.u64(..tokens - 1));
        for i in (0..tokens).filter(|i| Some(*i) != skipped) {
            let t = word(i);
            write(&mut bytes, &StreamEvent::Token { t, i });
        }
        let before_end = bytes.len();
        let end = end(client.task.tokens_in, tokens);
        match fault {
            Some(Fault::Error { retriable }) => write(&mut bytes, &failed(retriable)),
            Some(Fault::NoEnd) => {}
            Some(Fault::TwoEnds) => {
                write(&mut bytes, &end);
                write(&mut bytes, &end);
            }
            _ => write(&mut bytes, &end),
        }
        let mut closes = true;
        match fault {
            Some(Fault::Cut) => bytes.truncate(rng.usize(..bytes.len())),
            Some(Fault::HangLater) => {
                bytes.truncate(rng.usize(..bytes.len()));
                closes = false;
            }
            Some(Fault::Garbage) => {
                let at = rng.usize(..before_end);
                bytes.insert(at, 0xff);
            }
            Some(Fault::Oversized) => {
                let at = rng.usize(..before_end);
                bytes.splice(at..at, std::iter::repeat_n(b'x', FRAME_MOST + 1));
            }
            _ => {}
        }
        let mut course = tear(rng, &bytes, ms as u64);
        if closes {
            course.push_back((1, Piece::Close));
        }
        course
    }
}

/// What a token of a prompt takes, over what one of the answer does.
const PREFILL: f64 = 0.05;

/// Tears bytes into a few pieces that take so long in all.
fn tear(rng: &mut Rng, bytes: &[u8], ms: u64) -> Course {
    let pieces = rng.usize(1..=8);
    let mut cuts: Vec<usize> = (1..pieces).map(|_| rng.usize(..=bytes.len())).collect();
    cuts.push(bytes.len());
    cuts.sort_unstable();
    let mut from = 0;
    let piece = |to: usize| {
        let piece = bytes[from..to].to_vec();
        from = to;
        (ms / pieces as u64, Piece::Bytes(piece))
    };
    cuts.into_iter().map(piece).collect()
}

pub(super) fn word(i: u64) -> String {
    format!("w{i} ")
}

fn started(client: &Client) -> StreamEvent {
    StreamEvent::Started {
        job_id: "the worker's".into(),
        model: client.task.model.clone(),
        seed: 0,
        started_at: Timestamp::UNIX_EPOCH,
    }
}

fn end(tokens_in: u64, tokens_out: u64) -> StreamEvent {
    StreamEvent::End(End {
        tokens_in,
        tokens_cached: 0,
        tokens_out,
        prefill_time_ms: 0.0,
        decode_time_ms: 0.0,
        stop_reason: StopReason::Eos,
        stop_sequence: None,
    })
}

fn failed(retriable: bool) -> StreamEvent {
    StreamEvent::Error(Failure {
        code: FailureCode::Internal,
        message: "as the seed wants".into(),
        retriable,
    })
}
