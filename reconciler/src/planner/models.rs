//! Brings the models of a pool, and counts what that takes.

use std::collections::BTreeSet;

use pool_core::model::ModelFile;
use pool_core::name::ModelId;
use pool_core::source::Source;
use pool_core::supply::Rates;
use pool_core::units;

use super::PoolPlanner;
use crate::desired::Content;
use crate::diff::ModelDrift;
use crate::plan::{ActionId, ActionKind, Bill, FetchFile, Supply};
use crate::reason::Reason;
use crate::suppliers::Giver;

impl<'a> PoolPlanner<'a, '_> {
    pub(super) fn models(&mut self, base: &[ActionId]) {
        for (id, model) in &self.drift.models {
            match model {
                ModelDrift::Blocked { why } => self.block_model(id, why),
                ModelDrift::Bring {
                    source,
                    content,
                    reason,
                } => self.bring(id, source, content, reason, base),
            }
        }
        if self.bill.brought() > 0 {
            let seconds = seconds(&self.bill, &self.drift.rates);
            let bill = Bill {
                peak_disk: self.bill.brought(),
                disk_free: self.drift.disk_free,
                seconds,
                ..self.bill
            };
            self.plan.bills.insert(self.pool.clone(), bill);
        }
    }

    /// Each content once, though several files or models of the pool have it.
    fn bring(
        &mut self,
        id: &'a ModelId,
        source: &Source,
        content: &Content,
        reason: &Reason,
        base: &[ActionId],
    ) {
        let mut contents = BTreeSet::new();
        let files: Vec<&ModelFile> = content
            .manifest
            .files
            .iter()
            .filter(|file| contents.insert(file.sha256))
            .collect();
        if let Some(why) = self.no_disk(&files) {
            self.block_model(id, &why);
            return;
        }
        let register = ActionKind::Register {
            model: id.clone(),
            source: source.clone(),
            commit: content.commit.clone(),
            manifest: content.manifest.clone(),
        };
        let registered = self.act(register, reason.clone(), base.to_vec());
        let fetch = self.next();
        let mut after = BTreeSet::new();
        let mut fetched = Vec::new();
        for file in files {
            if let Some(seen) = self.seen.get(&file.sha256) {
                after.extend(seen);
                continue;
            }
            if self.drift.contents.contains(&file.sha256) {
                self.bill.here += file.size;
                self.seen.insert(file.sha256, None);
                continue;
            }
            let is_local = self.drift.is_local;
            let (from, first) = self.suppliers.choose(file.sha256, source, is_local);
            after.extend(first);
            let (from, instead) = if self.drift.touched.contains(&file.sha256) {
                (Supply::Here, Some(from))
            } else {
                (from, None)
            };
            let arrived = match from {
                Supply::Here => 0,
                _ => self.arrived(file),
            };
            self.bill.here += arrived;
            *match from {
                Supply::Here => &mut self.bill.here,
                Supply::Pool(_) => &mut self.bill.from_pools,
                Supply::Hub => &mut self.bill.from_hub,
                Supply::Operator => &mut self.bill.from_operator,
            } += file.size - arrived;
            self.seen.insert(file.sha256, Some(fetch));
            let giver = Giver {
                pool: self.pool,
                is_local: self.drift.is_local,
                fetch: Some(fetch),
            };
            self.suppliers.add(file.sha256, giver);
            fetched.push(FetchFile {
                file: file.clone(),
                from,
                instead,
                arrived,
            });
        }
        let kind = ActionKind::Fetch {
            model: id.clone(),
            source: source.clone(),
            commit: content.commit.clone(),
            files: fetched,
        };
        let after = after.into_iter().collect();
        self.act_after(kind, reason.clone(), vec![registered], after);
        self.brought.insert(id, fetch);
    }

    /// Why these files do not fit beside what the plan brings already.
    fn no_disk(&self, files: &[&ModelFile]) -> Option<String> {
        let is_here = |file: &&&ModelFile| {
            let sha256 = &file.sha256;
            self.seen.contains_key(sha256)
                || self.drift.contents.contains(sha256)
                || self.drift.touched.contains(sha256)
        };
        let lacking = files.iter().filter(|file| !is_here(file));
        let needed: u64 = lacking.map(|file| file.size - self.arrived(file)).sum();
        let free = self.drift.disk_free?.saturating_sub(self.bill.brought());
        (needed > free).then(|| {
            let (needed, free) = (units::bytes(needed), units::bytes(free));
            format!("needs {needed} of disk, {free} is free")
        })
    }

    /// Bytes of a content that came already.
    fn arrived(&self, file: &ModelFile) -> u64 {
        let arrived = self.drift.arrived.get(&file.sha256);
        arrived.map_or(0, |arrived| file.size.min(*arrived))
    }

    fn block_model(&mut self, id: &'a ModelId, why: &str) {
        self.block(&format!("model {id}"), why);
        self.blocked.insert(id);
    }
}

/// The time of a bill at these rates; none where one that it needs is not known.
fn seconds(bill: &Bill, rates: &Rates) -> Option<u64> {
    let ways = [
        (bill.from_hub, rates.hub),
        (bill.from_pools, rates.pools),
        (bill.from_operator, rates.operator),
    ];
    let mut seconds = 0.0;
    for (bytes, rate) in ways.into_iter().filter(|(bytes, _)| *bytes > 0) {
        seconds += bytes as f64 / rate.filter(|rate| *rate > 0)? as f64;
    }
    Some(seconds.ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_bill_is_known_when_all_its_rates_are() {
        let bill = Bill {
            from_hub: 1000,
            from_pools: 250,
            ..Bill::default()
        };
        let rates = |hub, pools| Rates {
            hub,
            pools,
            operator: None,
        };
        assert_eq!(seconds(&bill, &rates(Some(100), Some(100))), Some(13));
        assert_eq!(seconds(&bill, &rates(Some(100_000), Some(100))), Some(3));
        assert_eq!(
            seconds(&bill, &rates(Some(u64::MAX), Some(100_000))),
            Some(1)
        );
        assert_eq!(seconds(&bill, &rates(Some(100), None)), None);
        assert_eq!(seconds(&bill, &rates(Some(0), Some(100))), None);
    }
}
