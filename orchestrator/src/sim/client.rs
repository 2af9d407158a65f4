//! Who asks for what, waits, leaves, or comes back.

use std::collections::BTreeSet;

use fastrand::Rng;

use crate::core::{NewTask, Priority, TenantId, TenantLimits};

/// One who wants one task done.
#[derive(Debug)]
pub(super) struct Client {
    pub task: NewTask,
    /// Tokens that the answer really gets.
    pub answer: u64,
    /// Comes back when it is told to.
    pub obeys: bool,
    /// Reads so slowly that the shell has to wait for it.
    pub is_slow: bool,
    /// Milliseconds after its admission.
    pub cancels_after: Option<u64>,
    pub tries: u32,
    /// It comes back when it was told to, after it was refused for this.
    pub was_told: Option<&'static str>,
    pub state: State,
    /// Everything that it was sent.
    pub log: Vec<u8>,
    /// Of it, what it has not read.
    pub unread: usize,
    pub next_id: u64,
    pub tokens: u64,
    pub admitted: u64,
    pub deadline: u64,
    pub first_token: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Outside,
    Live,
    Done,
}

impl Client {
    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }
}

/// Times that a client tries before it goes.
pub(super) const TRIES: u32 = 30;

/// The longest time for which a client goes away and comes back.
pub(super) const AWAY_MOST_MS: u64 = 120_000;

pub(super) const MODELS: [&str; 2] = ["large", "small"];

pub(super) fn tenants() -> Vec<(TenantId, TenantLimits)> {
    let free = TenantLimits::default();
    vec![
        ("alice".into(), free.clone()),
        (
            "bob".into(),
            TenantLimits {
                weight: 3.0,
                ..free.clone()
            },
        ),
        (
            "few".into(),
            TenantLimits {
                concurrent: Some(5),
                ..free.clone()
            },
        ),
        (
            "minute".into(),
            TenantLimits {
                tokens_per_minute: Some(3000),
                ..free.clone()
            },
        ),
        (
            "day".into(),
            TenantLimits {
                tokens_per_day: Some(8000),
                ..free
            },
        ),
    ]
}

/// Chooses what a client wants and how it is.
pub(super) fn client(rng: &mut Rng, number: usize, with_faults: bool) -> Client {
    let tenants = tenants();
    let at = if rng.f64() < 0.6 {
        rng.usize(..2)
    } else {
        rng.usize(..tenants.len())
    };
    let class = if rng.f64() < 0.3 {
        Priority::Batch
    } else {
        Priority::Interactive
    };
    let max_tokens = rng.u64(1..=64);
    let session = (rng.f64() < 0.3).then(|| rng.u64(..50));
    let beginnings: BTreeSet<u64> = (0..rng.usize(..4)).map(|_| rng.u64(..40)).collect();
    Client {
        task: NewTask {
            id: format!("t{number}").into(),
            tenant: tenants[at].0.clone(),
            model: model(rng.usize(..MODELS.len())),
            class,
            tokens_in: rng.u64(1..=256),
            max_tokens: Some(max_tokens),
            session,
            prefixes: beginnings.into_iter().collect(),
            deadline_ms: Some(rng.u64(15_000..120_000)),
            request: number as u64,
        },
        answer: rng.u64(..=max_tokens),
        obeys: rng.f64() < 0.7,
        is_slow: with_faults && rng.f64() < 0.1,
        cancels_after: (with_faults && rng.f64() < 0.1).then(|| rng.u64(..20_000)),
        tries: 0,
        was_told: None,
        state: State::Outside,
        log: Vec::new(),
        unread: 0,
        next_id: 0,
        tokens: 0,
        admitted: 0,
        deadline: 0,
        first_token: None,
    }
}

pub(super) fn model(at: usize) -> pool_core::name::ModelId {
    match MODELS[at % MODELS.len()].parse() {
        Ok(name) => name,
        Err(error) => unreachable!("{error}"),
    }
}
