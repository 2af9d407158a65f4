//! Clients that were told when to come back, and the places that are kept for them.

use std::collections::{BTreeMap, HashMap};

use super::ids::TenantId;

/// Who was told: the same request of the same tenant.
pub(super) type Client = (TenantId, u64);

/// The promises of one queue.
#[derive(Debug, Default)]
pub(super) struct Promises {
    of: HashMap<Client, (u64, u64)>,
    by_time: BTreeMap<(u64, u64), Client>,
    made: u64,
}

/// Promises that are kept for one queue; who comes after is told a time, and takes its chance.
const MOST: usize = 10_000;

/// How much too early a client may come: clocks and networks are not exact.
pub(super) const EARLY_MS: u64 = 100;

impl Promises {
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// When a client was told to come.
    pub fn time_of(&self, client: &Client) -> Option<u64> {
        self.of.get(client).map(|(at, _)| *at)
    }

    pub fn is_due(&self, client: &Client, now: u64) -> bool {
        self.time_of(client)
            .is_some_and(|at| at <= now.saturating_add(EARLY_MS))
    }

    /// The time of the last promise; 0 without one.
    pub fn last(&self) -> u64 {
        self.by_time.last_key_value().map_or(0, |((at, _), _)| *at)
    }

    pub fn make(&mut self, client: Client, at: u64) {
        self.remove(&client);
        if self.of.len() < MOST {
            self.made += 1;
            self.by_time.insert((at, self.made), client.clone());
            self.of.insert(client, (at, self.made));
        }
    }

    pub fn remove(&mut self, client: &Client) {
        if let Some(key) = self.of.remove(client) {
            self.by_time.remove(&key);
        }
    }

    /// Who was told which time, the earliest first.
    pub fn iter(&self) -> impl Iterator<Item = (&Client, u64)> {
        self.by_time.iter().map(|((at, _), client)| (client, *at))
    }

    /// Forgets clients that should have come before a time.
    pub fn forget_before(&mut self, time: u64) {
        while let Some(entry) = self.by_time.first_entry()
            && entry.key().0 < time
        {
            let client = entry.remove();
            self.of.remove(&client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(request: u64) -> Client {
        ("t".into(), request)
    }

    #[test]
    fn a_promise_is_kept_once_and_for_a_time() {
        let mut promises = Promises::default();
        promises.make(client(1), 1000);
        promises.make(client(1), 2000);
        promises.make(client(2), 3000);
        assert_eq!(promises.len(), 2);
        assert!(!promises.is_due(&client(1), 1000) && promises.is_due(&client(1), 1900));
        assert_eq!(promises.last(), 3000);
        promises.forget_before(2001);
        assert_eq!(promises.time_of(&client(1)), None);
        promises.remove(&client(2));
        assert_eq!((promises.len(), promises.by_time.len()), (0, 0));
    }

    #[test]
    fn there_are_only_so_many() {
        let mut promises = Promises::default();
        for request in 0..2 * MOST as u64 {
            promises.make(client(request), request);
        }
        assert_eq!((promises.len(), promises.by_time.len()), (MOST, MOST));
    }
}
