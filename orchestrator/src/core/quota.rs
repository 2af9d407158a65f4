//! What tenants may use, and what they did.
//!
//! A task is charged with all that it may need when it is admitted, and given back at its end what it did not use, so no
//! quota is exceeded by tasks that run together.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ids::{Now, TenantId};
use super::turns::{Turn, Turns};

/// The quotas of one tenant; without a number there is no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantLimits {
    /// Its share of the tokens while tenants wait for each other; above 0.
    pub weight: f64,
    /// Tasks that wait or run.
    pub concurrent: Option<u32>,
    /// A bucket that holds so many tokens and fills in a minute.
    pub tokens_per_minute: Option<u64>,
    pub tokens_per_day: Option<u64>,
}

impl Default for TenantLimits {
    fn default() -> Self {
        Self {
            weight: 1.0,
            concurrent: None,
            tokens_per_minute: None,
            tokens_per_day: None,
        }
    }
}

/// Which limit a task would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quota {
    Concurrent,
    TokensPerMinute,
    TokensPerDay,
}

/// What a tenant used, without what its tasks that have not ended may still need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// When this was so.
    pub unix_ms: u64,
    /// Tokens since midnight, UTC.
    pub day: u64,
    /// Tokens that its minute's bucket lacks.
    pub minute: u64,
}

/// A limit, and how long until a task fits; never, if there is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exceeded {
    pub quota: Quota,
    pub limit: u64,
    pub wait_ms: Option<u64>,
}

#[derive(Debug)]
struct Tenant {
    limits: TenantLimits,
    /// It may submit.
    is_known: bool,
    live: u32,
    /// What the live tasks are charged with.
    reserved: u64,
    /// Tokens in the bucket at a time; below 0 after a task that needed more than it was taken to.
    bucket: f64,
    filled: u64,
    day: u64,
    /// Who was told when there are tokens for it.
    turns: Turns,
    /// Milliseconds that its tasks live.
    life_ms: f64,
}

impl Tenant {
    fn new(limits: TenantLimits, now: u64) -> Self {
        let mut tenant = Self {
            limits: TenantLimits::default(),
            is_known: true,
            live: 0,
            reserved: 0,
            bucket: 0.0,
            filled: now,
            day: 0,
            turns: Turns::default(),
            life_ms: UNMEASURED_LIFE_MS,
        };
        tenant.limit(limits);
        tenant
    }

    /// Changes the limits; what the bucket lacks, it goes on lacking.
    fn limit(&mut self, limits: TenantLimits) {
        let size = |limits: &TenantLimits| limits.tokens_per_minute.unwrap_or(0) as f64;
        self.bucket += size(&limits) - size(&self.limits);
        self.limits = limits;
        if !(self.limits.weight > 0.0 && self.limits.weight.is_finite()) {
            self.limits.weight = 1.0;
        }
    }

    fn fill(&mut self, now: u64) {
        let gained = |size: f64| size * now.saturating_sub(self.filled) as f64 / MINUTE as f64;
        let size = self.limits.tokens_per_minute.map(|size| size as f64);
        self.bucket = size.map_or(0.0, |size| (self.bucket + gained(size)).min(size));
        self.filled = now;
    }
}

/// How long a task is taken to live before one has ended.
const UNMEASURED_LIFE_MS: f64 = 5000.0;

const MINUTE: u64 = 60_000;
const DAY: u64 = 86_400_000;

/// All tenants, and the day that their tokens are counted for.
///
/// The end of a day is read from the wall clock when a day begins, and then awaited on the clock that does not jump. A day
/// lasts from 12 to 36 hours, however the wall clock jumps.
#[derive(Debug)]
pub(super) struct Tenants {
    of: BTreeMap<TenantId, Tenant>,
    day_ends: Option<u64>,
}

impl Tenants {
    pub fn new() -> Self {
        Self {
            of: BTreeMap::new(),
            day_ends: None,
        }
    }

    /// Makes these the tenants that may submit.
    pub fn set(&mut self, now: Now, limits: impl IntoIterator<Item = (TenantId, TenantLimits)>) {
        self.roll(now);
        for tenant in self.of.values_mut() {
            tenant.is_known = false;
        }
        for (id, limits) in limits {
            let tenant = self
                .of
                .entry(id)
                .or_insert_with(|| Tenant::new(limits.clone(), now.mono_ms));
            tenant.fill(now.mono_ms);
            tenant.limit(limits);
            tenant.is_known = true;
        }
        self.of
            .retain(|_, tenant| tenant.is_known || tenant.live > 0);
    }

    pub fn is_known(&self, id: &TenantId) -> bool {
        self.of.get(id).is_some_and(|tenant| tenant.is_known)
    }

    pub fn known(&self) -> usize {
        self.of.values().filter(|tenant| tenant.is_known).count()
    }

    /// Whether tokens of a tenant are limited.
    pub fn counts_tokens(&self, id: &TenantId) -> bool {
        self.of.get(id).is_some_and(|tenant| {
            let limits = &tenant.limits;
            limits.tokens_per_minute.or(limits.tokens_per_day).is_some()
        })
    }

    pub fn weight(&self, id: &TenantId) -> f64 {
        self.of.get(id).map_or(1.0, |tenant| tenant.limits.weight)
    }

    /// Whether a task of so many tokens fits now; `request` is known again when it comes back.
    pub fn check(
        &mut self,
        now: Now,
        id: &TenantId,
        request: u64,
        cost: u64,
    ) -> Result<(), Exceeded> {
        self.roll(now);
        let day_left = self.day_ends.unwrap_or(DAY).saturating_sub(now.mono_ms);
        let Some(tenant) = self.of.get_mut(id) else {
            return Ok(());
        };
        tenant.fill(now.mono_ms);
        let limits = &tenant.limits;
        if let Some(limit) = limits.concurrent.filter(|&limit| tenant.live >= limit) {
            return Err(Exceeded {
                quota: Quota::Concurrent,
                limit: limit.into(),
                wait_ms: (limit > 0).then_some(tenant.life_ms as u64),
            });
        }
        if let Some(limit) = limits.tokens_per_day
            && tenant
                .day
                .saturating_add(tenant.reserved)
                .saturating_add(cost)
                > limit
        {
            return Err(Exceeded {
                quota: Quota::TokensPerDay,
                limit,
                wait_ms: (cost <= limit).then_some(day_left),
            });
        }
        if let Some(limit) = limits.tokens_per_minute {
            let lacks = tenant
                .turns
                .lacks(now.mono_ms, request, cost, tenant.bucket);
            if lacks > 0.0 {
                let wait = (lacks * MINUTE as f64 / limit.max(1) as f64).ceil() as u64;
                if cost <= limit {
                    tenant.turns.promise(now.mono_ms + wait, request, cost);
                }
                return Err(Exceeded {
                    quota: Quota::TokensPerMinute,
                    limit,
                    wait_ms: (cost <= limit).then_some(wait),
                });
            }
        }
        Ok(())
    }

    /// Who waits outside for tokens, by tenant, and in order for each.
    pub fn turns(&self) -> impl Iterator<Item = (&TenantId, &Turn)> {
        let turns = |(id, tenant)| {
            let tenant: &Tenant = tenant;
            tenant.turns.iter().map(move |turn| (id, turn))
        };
        self.of.iter().flat_map(turns)
    }

    /// Whether a client was told to come for tokens by now.
    pub fn is_due(&self, now: u64, id: &TenantId, request: u64) -> bool {
        let tenant = self.of.get(id);
        tenant.is_some_and(|tenant| tenant.turns.is_due(now, request))
    }

    /// The tokens that are kept for a client are kept until it has a place.
    pub fn postpone(&mut self, id: &TenantId, request: u64, at: u64) {
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.turns.postpone(request, at);
        }
    }

    /// A client was told to come at a time, before a restart.
    pub fn promise(&mut self, id: &TenantId, at: u64, request: u64, cost: u64) {
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.turns.promise(at, request, cost);
        }
    }

    /// A client that was told to wait for tokens is in.
    pub fn redeem(&mut self, id: &TenantId, request: u64) {
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.turns.remove(request);
        }
    }

    /// Charges a task that was admitted with all that it may need.
    pub fn reserve(&mut self, now: Now, id: &TenantId, cost: u64) {
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.fill(now.mono_ms);
            tenant.live += 1;
            tenant.reserved += cost;
            tenant.bucket -= cost as f64;
        }
    }

    /// A task of a tenant waited and ran for so long.
    pub fn lived(&mut self, id: &TenantId, ms: u64) {
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.life_ms += (ms as f64 - tenant.life_ms) / 10.0;
        }
    }

    /// Charges a task that is over with what it used.
    pub fn settle(&mut self, now: Now, id: &TenantId, cost: u64, used: u64) {
        self.roll(now);
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.fill(now.mono_ms);
            tenant.live = tenant.live.saturating_sub(1);
            tenant.reserved = tenant.reserved.saturating_sub(cost);
            tenant.day = tenant.day.saturating_add(used);
            tenant.bucket += cost as f64 - used as f64;
            tenant.fill(now.mono_ms);
            if !tenant.is_known && tenant.live == 0 {
                self.of.remove(id);
            }
        }
    }

    /// Charges what a task used that a restart ended.
    pub fn charge(&mut self, now: Now, id: &TenantId, used: u64) {
        self.roll(now);
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.fill(now.mono_ms);
            tenant.day = tenant.day.saturating_add(used);
            tenant.bucket -= used as f64;
        }
    }

    pub fn usage(&mut self, now: Now, id: &TenantId) -> Option<Usage> {
        self.roll(now);
        let tenant = self.of.get_mut(id)?;
        tenant.fill(now.mono_ms);
        let size = tenant.limits.tokens_per_minute.unwrap_or(0) as f64;
        let lacks = size - tenant.bucket - tenant.reserved as f64;
        Some(Usage {
            unix_ms: now.unix_ms,
            day: tenant.day,
            minute: lacks.max(0.0).ceil() as u64,
        })
    }

    /// Takes up what was used before a restart.
    pub fn restore(&mut self, now: Now, id: &TenantId, usage: Usage) {
        self.roll(now);
        if let Some(tenant) = self.of.get_mut(id) {
            tenant.fill(now.mono_ms);
            if usage.unix_ms / DAY == now.unix_ms / DAY {
                tenant.day = tenant.day.saturating_add(usage.day);
            }
            let passed = now.unix_ms.saturating_sub(usage.unix_ms).min(MINUTE);
            let size = tenant.limits.tokens_per_minute.unwrap_or(0);
            let gained = size as f64 * passed as f64 / MINUTE as f64;
            tenant.bucket -= (usage.minute as f64 - gained).max(0.0);
        }
    }

    /// Begins another day when this one is over.
    fn roll(&mut self, now: Now) {
        let left = DAY - now.unix_ms % DAY;
        match self.day_ends {
            None => self.day_ends = Some(now.mono_ms + left),
            Some(end) if now.mono_ms >= end => {
                let whole = if left < DAY / 2 { left + DAY } else { left };
                self.day_ends = Some(now.mono_ms + whole);
                for tenant in self.of.values_mut() {
                    tenant.day = 0;
                }
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "quota_tests.rs"]
mod tests;
