//! What lies on a pool's disk, and what its hive says of it.

use std::collections::BTreeSet;

use pool_core::digest::Sha256;
use pool_core::model::Stamp;
use pool_core::observation::PoolObservation;

/// Contents by what is known of them. Of every other content nothing is there.
#[derive(Debug, Default)]
pub struct Disk {
    pub whole: BTreeSet<Sha256>,
    /// Touched since they were checked.
    pub touched: BTreeSet<Sha256>,
    pub free: u64,
}

impl Disk {
    /// The disk of a pool that says this.
    pub fn of(seen: &PoolObservation) -> Self {
        let mut disk = Self {
            free: seen.disk_free_bytes.unwrap_or_default(),
            ..Self::default()
        };
        for model in &seen.models {
            for file in &model.entry.files {
                let (path, sha256) = (&file.file.path, file.file.sha256);
                if model.touched.contains(path) {
                    disk.touched.insert(sha256);
                } else if !model.damaged.contains(path) {
                    disk.whole.insert(sha256);
                }
            }
        }
        disk
    }

    /// Makes the pool's hive say what is there.
    pub fn tell(&self, seen: &mut PoolObservation) {
        seen.disk_free_bytes = Some(self.free);
        for model in &mut seen.models {
            (model.damaged, model.touched) = (Vec::new(), Vec::new());
            for file in &mut model.entry.files {
                let (path, sha256) = (file.file.path.clone(), file.file.sha256);
                let is_touched = self.touched.contains(&sha256);
                let is_whole = self.whole.contains(&sha256);
                file.verified = (is_whole || is_touched).then_some(Stamp {
                    inode: 1,
                    modified_ns: 0,
                    changed_ns: 0,
                });
                if is_touched {
                    model.touched.push(path);
                } else if !is_whole {
                    model.damaged.push(path);
                }
            }
        }
    }

    /// Takes away what no model of the catalog names. That frees nothing yet: a worker may have it open.
    pub fn sweep(&mut self, seen: &PoolObservation) {
        let files = seen.models.iter().flat_map(|model| &model.entry.files);
        let used: BTreeSet<Sha256> = files.map(|file| file.file.sha256).collect();
        self.whole.retain(|sha256| used.contains(sha256));
        self.touched.retain(|sha256| used.contains(sha256));
    }
}
