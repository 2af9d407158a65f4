//! Whether the disk of a pool has room for the models that are to be brought.

use std::collections::BTreeSet;

use pool_core::model::ModelFile;
use pool_core::units;

use super::PoolPlanner;
use crate::diff::ModelDrift;

impl PoolPlanner<'_, '_> {
    /// Blocks the models that cannot be brought: their files are not known, or do not fit beside those before them.
    pub(super) fn short_of_disk(&mut self) {
        self.blocked.clear();
        let mut free = self.drift.disk_free;
        let mut brought = BTreeSet::new();
        for (id, model) in &self.drift.models {
            let content = match model {
                ModelDrift::Blocked { .. } => {
                    self.blocked.insert(id);
                    continue;
                }
                ModelDrift::Bring { .. } if self.idle.contains(id) => continue,
                ModelDrift::Bring { content, .. } => content,
            };
            let Some(left) = free else {
                continue;
            };
            let mut files = BTreeSet::new();
            let lacking = content.manifest.files.iter().filter(|file| {
                !self.has(file) && !brought.contains(&file.sha256) && files.insert(file.sha256)
            });
            let needed: u64 = lacking.map(|file| file.size - self.arrived(file)).sum();
            if needed > left {
                self.blocked.insert(id);
            } else {
                brought.extend(files);
                free = Some(left - needed);
            }
        }
    }

    /// Why the files of a model do not fit beside what the plan brings already.
    pub(super) fn no_disk(&self, files: &[&ModelFile]) -> String {
        let is_here = |file: &&&ModelFile| self.seen.contains_key(&file.sha256) || self.has(file);
        let lacking = files.iter().filter(|file| !is_here(file));
        let needed: u64 = lacking.map(|file| file.size - self.arrived(file)).sum();
        let free = self.drift.disk_free.unwrap_or_default();
        let free = free.saturating_sub(self.bill.brought());
        let (needed, free) = (units::bytes(needed), units::bytes(free));
        format!("needs {needed} of disk, {free} is free")
    }

    /// The content is there, or was before it was touched.
    fn has(&self, file: &ModelFile) -> bool {
        self.drift.contents.contains(&file.sha256) || self.drift.touched.contains(&file.sha256)
    }

    /// Bytes of a content that came already.
    pub(super) fn arrived(&self, file: &ModelFile) -> u64 {
        let arrived = self.drift.arrived.get(&file.sha256);
        arrived.map_or(0, |arrived| file.size.min(*arrived))
    }
}
