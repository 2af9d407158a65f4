//! Who gives a pool a content that it lacks: another pool, before the hub or the operator.
//!
//! Whoever received a content gives it on, and nobody to more than `SERVES` others while one is
//! there that gives to fewer: the pools of a content form a tree, and the hub gives it once.

use std::collections::{BTreeMap, BTreeSet};

use pool_core::digest::Sha256;
use pool_core::name::PoolName;
use pool_core::source::Source;

use crate::diff::{Drift, ModelDrift, PoolDrift};
use crate::plan::{ActionId, Supply};

/// Pools that one pool gives the same content to.
const SERVES: usize = 2;

/// The pools that can give contents.
#[derive(Debug, Default)]
pub struct Suppliers<'a> {
    contents: BTreeMap<Sha256, Givers<'a>>,
}

/// The pools that have a content, or will have it.
#[derive(Debug, Default)]
struct Givers<'a> {
    pools: Vec<Giver<'a>>,
    /// Those of them that are not the operator's own machine.
    remote: Vec<Giver<'a>>,
    /// How many others they give it to.
    given: usize,
}

/// A pool that can give a content.
#[derive(Debug, Clone, Copy)]
pub struct Giver<'a> {
    pub pool: &'a PoolName,
    /// The pool is the operator's own machine.
    pub is_local: bool,
    /// The fetch of this plan that brings the content; none where it is there now.
    pub fetch: Option<ActionId>,
}

impl<'a> Suppliers<'a> {
    /// Those that have contents now which another pool is to get.
    pub fn new(drift: &'a Drift) -> Self {
        let mut suppliers = Self::default();
        let wanted = wanted(drift);
        if wanted.is_empty() {
            return suppliers;
        }
        for (pool, drift) in &drift.pools {
            let PoolDrift::Known(drift) = drift else {
                continue;
            };
            for content in drift.contents.intersection(&wanted) {
                let is_local = drift.is_local;
                let fetch = None;
                suppliers.add(
                    *content,
                    Giver {
                        pool,
                        is_local,
                        fetch,
                    },
                );
            }
        }
        suppliers
    }

    /// From now on this pool gives the content too.
    pub fn add(&mut self, content: Sha256, giver: Giver<'a>) {
        let givers = self.contents.entry(content).or_default();
        givers.pools.push(giver);
        if !giver.is_local {
            givers.remote.push(giver);
        }
    }

    /// Where a pool gets a content of a model with this source, and the fetch that must be over before.
    ///
    /// The operator's machine has the operator's folders: of their content it neither takes from
    /// pools nor gives to them.
    pub fn choose(
        &mut self,
        content: Sha256,
        source: &Source,
        is_local: bool,
    ) -> (Supply, Option<ActionId>) {
        let origin = match source {
            Source::Hub { .. } => Supply::Hub,
            Source::Folder(_) if is_local => return (Supply::Operator, None),
            Source::Folder(_) => Supply::Operator,
        };
        let givers = self.contents.entry(content).or_default();
        let able = match origin {
            Supply::Hub => &givers.pools,
            _ => &givers.remote,
        };
        let Some(last) = able.len().checked_sub(1) else {
            return (origin, None);
        };
        let giver = able[last.min(givers.given / SERVES)];
        givers.given += 1;
        (Supply::Pool(giver.pool.clone()), giver.fetch)
    }
}

/// The contents of the models that are to be brought.
fn wanted(drift: &Drift) -> BTreeSet<Sha256> {
    let mut wanted = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for drift in drift.pools.values() {
        let PoolDrift::Known(drift) = drift else {
            continue;
        };
        for model in drift.models.values() {
            if let ModelDrift::Bring { content, .. } = model
                && seen.insert(content.digest())
            {
                wanted.extend(content.manifest.files.iter().map(|file| file.sha256));
            }
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> PoolName {
        text.parse().unwrap()
    }

    /// Each of these pools asks in turn, and receives.
    fn tree(pools: &[PoolName], source: &str, local: Option<&PoolName>) -> Vec<String> {
        let source = source.parse().unwrap();
        let content = Sha256::of("content");
        let mut suppliers = Suppliers::default();
        let ask = |(place, pool)| {
            let is_local = Some(pool) == local;
            let (from, after) = suppliers.choose(content, &source, is_local);
            let fetch = Some(ActionId(place));
            suppliers.add(
                content,
                Giver {
                    pool,
                    is_local,
                    fetch,
                },
            );
            let from = match from {
                Supply::Pool(pool) => pool.to_string(),
                other => format!("{other:?}"),
            };
            after.map_or(from.clone(), |after| format!("{from} {after}"))
        };
        (0..).zip(pools).map(ask).collect()
    }

    #[test]
    fn pools_that_received_a_content_give_it_on_to_two_others_each() {
        let pools = ["a", "b", "c", "d", "e", "f"].map(name);
        let given = tree(&pools, "hf:org/repo", Some(&pools[0]));
        assert_eq!(given, ["Hub", "a #0", "a #0", "b #1", "b #1", "c #2"]);
    }

    #[test]
    fn the_operators_machine_takes_its_folders_from_itself_and_gives_them_to_nobody() {
        let pools = ["a", "b", "c"].map(name);
        assert_eq!(
            tree(&pools, "./folder", Some(&pools[0])),
            ["Operator", "Operator", "b #1"]
        );
        assert_eq!(
            tree(&pools, "./folder", Some(&pools[2])),
            ["Operator", "a #0", "Operator"]
        );
    }
}
