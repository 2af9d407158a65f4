//! Who may use the fleet, and how much: API keys by tenant, read from a YAML or JSON file.
//!
//! ```yaml
//! tenants:
//!   - name: lab
//!     keys: [bf79…]             # sha256 of an API key, 64 digits
//!     quotas:                   # each may be left out: no bound
//!       concurrent: 8           # tasks that have not ended
//!       tokens_per_minute: 60000
//!       tokens_per_day: 5000000
//!     weight: 2                 # share under load; 1 where it is left out
//! ```
//!
//! The file has no secret: a key has 256 random bits, which nobody finds from its digest.

mod key;
mod problem;
mod read;
#[cfg(test)]
mod tests;
mod yaml;

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use pool_core::digest::Sha256;
use serde::Serialize;

pub use key::ApiKey;
pub use problem::{Place, Problem, TenantsError};

/// Who uses the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Tenant {
    pub name: String,
    pub quotas: Quotas,
    /// Share of the fleet under load, against those of the others: 1–1000.
    pub weight: u32,
}

/// Bounds of one tenant; `None` is no bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Quotas {
    /// Tasks that have not ended.
    pub concurrent: Option<u32>,
    pub tokens_per_minute: Option<u64>,
    pub tokens_per_day: Option<u64>,
}

/// The tenants of a file.
#[derive(Debug, Default)]
pub struct Tenants {
    tenants: Vec<Arc<Tenant>>,
    by_key: HashMap<Sha256, Arc<Tenant>>,
}

impl Tenants {
    /// Reads a file. Everything that is wrong with it is told at once.
    pub fn read(path: &Path) -> Result<Self, TenantsError> {
        let unreadable = |error| TenantsError::Unreadable {
            path: path.to_owned(),
            error,
        };
        let file = pool_core::folder::open(path).map_err(unreadable)?;
        let mode = file.metadata().map_err(unreadable)?.mode() & 0o777;
        if mode & 0o022 != 0 {
            let path = path.to_owned();
            return Err(TenantsError::Writable { path, mode });
        }
        if mode & 0o044 != 0 {
            tracing::warn!(path = %path.display(), "others than its owner may read the tenants; chmod 600 keeps their names private");
        }
        let text = std::io::read_to_string(file).map_err(unreadable)?;
        Self::of(path, &text)
    }

    /// Takes the text of a file, which errors call `path`.
    pub fn of(path: &Path, text: &str) -> Result<Self, TenantsError> {
        text.parse().map_err(|problems| TenantsError::Wrong {
            path: path.to_owned(),
            problems,
        })
    }

    fn new(tenants: Vec<(Tenant, Vec<Sha256>)>) -> Self {
        let mut all = Self::default();
        for (tenant, keys) in tenants {
            let tenant = Arc::new(tenant);
            all.by_key
                .extend(keys.into_iter().map(|key| (key, tenant.clone())));
            all.tenants.push(tenant);
        }
        all
    }

    /// In the order of the file.
    pub fn all(&self) -> &[Arc<Tenant>] {
        &self.tenants
    }

    /// Whose key this is. How long it takes tells about the digest of the key that was shown, not about the key: who
    /// learns digests of keys from it is as far from a key as before.
    pub fn find(&self, key: &str) -> Option<&Arc<Tenant>> {
        self.by_key.get(&Sha256::of(key))
    }
}

impl std::str::FromStr for Tenants {
    type Err = Vec<Problem>;

    fn from_str(text: &str) -> Result<Self, Vec<Problem>> {
        read::read(text)
    }
}
