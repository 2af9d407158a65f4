//! What a watch does when. A pure decision: it reads no clock and asks nobody; times are those since the watch began.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pool_core::address::WorkerAddress;
use pool_core::digest::Sha256;
use pool_core::name::PoolName;

/// The first pause before a service is started again, and the longest.
const SERVICE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));
/// A service that served for so long begins with the first pause again.
const SETTLED: Duration = Duration::from_mins(5);
/// The longest pause before a pool that is down is asked again, unless the interval is longer.
const POOL: Duration = Duration::from_mins(15);

/// What is started on pools.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    Worker(WorkerAddress),
    /// The fleet's, on this pool.
    Orchestrator(PoolName),
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(address) => write!(f, "worker {address}"),
            Self::Orchestrator(_) => f.write_str("orchestrator"),
        }
    }
}

/// When which pool is asked and which service is started.
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    next: Duration,
    pools: BTreeMap<PoolName, Retry>,
    services: BTreeMap<Service, Attempts>,
    random: fastrand::Rng,
}

/// How often something failed in a row, and when it may be tried again.
#[derive(Debug, Default)]
struct Retry {
    failures: u32,
    not_before: Duration,
}

/// The starts of a service as it should be now.
#[derive(Debug)]
struct Attempts {
    spec: Sha256,
    last: Duration,
    retry: Retry,
    /// This round waits for the next one.
    is_wanted: bool,
}

/// What became of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It answered before, or was never asked, and does not answer now.
    Gone,
    /// It answers again.
    Back,
}

/// Whether a service may be started now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spawn {
    Now,
    /// Not before this time.
    Later(Duration),
}

impl Schedule {
    /// With the same seed, the same pauses.
    pub fn new(interval: Duration, seed: u64) -> Self {
        Self {
            interval,
            next: Duration::ZERO,
            pools: BTreeMap::new(),
            services: BTreeMap::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// The pools are asked now.
    pub fn round(&mut self, now: Duration) {
        self.next = now + self.interval;
        for service in self.services.values_mut() {
            service.is_wanted = false;
        }
    }

    /// How long nothing is to be done, unless a file is saved.
    pub fn pause(&self, now: Duration) -> Duration {
        let wanted = self.services.values().filter(|service| service.is_wanted);
        let wanted = wanted.map(|service| service.retry.not_before);
        let due = wanted.fold(self.next, Duration::min);
        due.saturating_sub(now)
    }

    pub fn is_due(&self, pool: &PoolName, now: Duration) -> bool {
        self.pools
            .get(pool)
            .is_none_or(|retry| now >= retry.not_before)
    }

    /// What a pool that was asked did.
    pub fn answered(&mut self, pool: &PoolName, answers: bool, now: Duration) -> Option<Turn> {
        if answers {
            return self.pools.remove(pool).map(|_| Turn::Back);
        }
        let longest = POOL.max(self.interval);
        let retry = self.pools.entry(pool.clone()).or_default();
        retry.fail(now, (self.interval, longest), &mut self.random);
        (retry.failures == 1).then_some(Turn::Gone)
    }

    /// The pool is another machine now, or none.
    pub fn forget(&mut self, pool: &PoolName) {
        self.pools.remove(pool);
    }

    /// Whether a service may be started that is to be as `spec` says.
    pub fn may_spawn(&mut self, service: &Service, spec: Sha256, now: Duration) -> Spawn {
        let Some(attempts) = self.services.get_mut(service) else {
            return Spawn::Now;
        };
        let not_before = attempts.retry.not_before;
        if attempts.spec != spec || not_before <= now {
            return Spawn::Now;
        }
        attempts.is_wanted = true;
        Spawn::Later(not_before)
    }

    /// A service was started, whatever came of it.
    pub fn spawned(&mut self, service: &Service, spec: Sha256, now: Duration) {
        let fresh = || Attempts {
            spec,
            last: now,
            retry: Retry::default(),
            is_wanted: false,
        };
        let attempts = self.services.entry(service.clone()).or_insert_with(fresh);
        if attempts.spec != spec {
            *attempts = fresh();
        }
        attempts.last = now;
        attempts.retry.fail(now, SERVICE, &mut self.random);
    }

    /// The service is as it should be.
    pub fn serves(&mut self, service: &Service, now: Duration) {
        let attempts = self.services.get(service);
        if attempts.is_some_and(|attempts| now.saturating_sub(attempts.last) >= SETTLED) {
            self.services.remove(service);
        }
    }

    /// The service is given something else than what it was started with.
    pub fn changed(&mut self, service: &Service) {
        self.services.remove(service);
    }
}

impl Retry {
    /// Each failure doubles the pause, of which between half and all is kept: what failed together is not tried together.
    fn fail(
        &mut self,
        now: Duration,
        (first, longest): (Duration, Duration),
        random: &mut fastrand::Rng,
    ) {
        let factor = 1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX);
        let pause = first.saturating_mul(factor).min(longest);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + pause.mul_f64(0.5 + random.f64() / 2.0);
    }
}

#[cfg(test)]
mod tests;
