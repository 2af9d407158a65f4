//! How much may come from the hub, shared by fetches that run at the same time.

use std::sync::Mutex;

use crate::apply::lock;

/// What `--max-download` leaves beyond what the plan downloads.
#[derive(Debug, Default)]
pub struct Allowance {
    /// None where nobody set a limit.
    spare: Option<Mutex<u64>>,
}

/// What one fetch may take from the hub.
#[derive(Debug)]
pub struct Share<'a> {
    allowance: &'a Allowance,
    bytes: Option<u64>,
}

impl Allowance {
    /// At most this much, of which the plan has so much in view.
    pub fn new(most: Option<u64>, planned: u64) -> Self {
        let spare = most.map(|most| Mutex::new(most.saturating_sub(planned)));
        Self { spare }
    }

    /// What is planned for a fetch, and all that is spare until it is over.
    pub fn take(&self, planned: u64) -> Share<'_> {
        let spare = self
            .spare
            .as_ref()
            .map(|spare| std::mem::take(&mut *lock(spare)));
        Share {
            allowance: self,
            bytes: spare.map(|spare| planned.saturating_add(spare)),
        }
    }
}

impl Share<'_> {
    /// Bytes; none where there is no limit.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// What was not used is spare again. A share that is dropped counts as used: what came then is not known.
    pub fn give_back(self, used: u64) {
        if let (Some(spare), Some(bytes)) = (&self.allowance.spare, self.bytes) {
            *lock(spare) += bytes.saturating_sub(used);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_fetch_does_not_use_another_may() {
        let allowance = Allowance::new(Some(100), 60);
        let first = allowance.take(40);
        assert_eq!(first.bytes(), Some(80));
        let second = allowance.take(20);
        assert_eq!(second.bytes(), Some(20));
        first.give_back(10);
        second.give_back(20);
        let third = allowance.take(0);
        assert_eq!(third.bytes(), Some(70));
        // One that gives nothing back counts as used.
        assert_eq!(allowance.take(5).bytes(), Some(5));
        assert_eq!(Allowance::new(None, 60).take(40).bytes(), None);
    }
}
