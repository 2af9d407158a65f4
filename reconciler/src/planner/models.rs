//! Brings the models of a pool, and counts what that takes.

use std::collections::BTreeSet;

use pool_core::digest::Sha256;
use pool_core::facts::About;
use pool_core::model::ModelFile;
use pool_core::name::ModelId;
use pool_core::source::Source;
use pool_core::supply::Rates;

use super::PoolPlanner;
use crate::desired::Content;
use crate::diff::ModelDrift;
use crate::plan::{ActionId, ActionKind, Bill, FetchFile, Supply};
use crate::reason::Reason;
use crate::suppliers::Giver;

/// A model that is to be brought.
struct Bring<'a> {
    id: &'a ModelId,
    source: &'a Source,
    content: &'a Content,
    reason: &'a Reason,
    protect: bool,
    was: Option<Sha256>,
}

impl<'a> PoolPlanner<'a, '_> {
    pub(super) fn models(&mut self, base: &[ActionId]) {
        for (id, model) in &self.drift.models {
            match model {
                ModelDrift::Blocked { why } => self.block_model(id, why),
                ModelDrift::Bring { .. } if self.idle.contains(id) => {}
                ModelDrift::Bring {
                    source,
                    content,
                    reason,
                    protect,
                    was,
                    ..
                } => {
                    let model = Bring {
                        id,
                        source,
                        content,
                        reason,
                        protect: *protect,
                        was: *was,
                    };
                    self.bring(&model, base);
                }
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
    fn bring(&mut self, model: &Bring<'a>, base: &[ActionId]) {
        let Bring {
            id,
            source,
            content,
            reason,
            protect,
            was,
        } = *model;
        let mut contents = BTreeSet::new();
        let files: Vec<&ModelFile> = content
            .manifest
            .files
            .iter()
            .filter(|file| contents.insert(file.sha256))
            .collect();
        if self.blocked.contains(id) {
            let why = self.no_disk(&files);
            self.block_model(id, &why);
            return;
        }
        let register = ActionKind::Register {
            model: id.clone(),
            source: source.clone(),
            commit: content.commit.clone(),
            manifest: content.manifest.clone(),
            protect,
        };
        let facts = self.fact(About::Model(id.clone()), was);
        let registered = self.act(register, reason.clone(), base.to_vec(), facts);
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
        let fetch = self.act(kind, reason.clone(), vec![registered], Vec::new());
        self.plan.actions[fetch.0 as usize].after = after.into_iter().collect();
        self.brought.insert(id, fetch);
    }

    fn block_model(&mut self, id: &ModelId, why: &str) {
        self.block(&format!("model {id}"), why);
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
