//! What clients were told, stored so that a restart keeps it.

use super::Orchestrator;
use crate::core::{Promised, Served};
use crate::store::StoreError;

/// What the store has: promises, which are stored again and again because their time passes, and what stays as it is.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Said {
    promises: bool,
    served: Vec<Served>,
}

impl Said {
    fn of(promised: &Promised) -> Self {
        Self {
            promises: !promised.promises.is_empty(),
            served: promised.served.clone(),
        }
    }
}

impl Orchestrator {
    /// Stores what clients were told, once a second and at the end: a kill forgets what was told since.
    pub(super) fn keep_promised(&self) {
        let promised = self.ask(|core, now| core.promised(now));
        let said = Said::of(&promised);
        let is_old = promised.promises.is_empty() && self.state().said == said;
        if !is_old && let Ok(bytes) = serde_json::to_vec(&promised) {
            self.state().said = said;
            // A store that fails costs a client its turn, and no task.
            drop(self.store.put_promised(bytes));
        }
    }

    /// Takes up what clients were told before a restart. What cannot be read is forgotten.
    pub(super) async fn restore_promised(&self) -> Result<(), StoreError> {
        let stored = self.store.promised().await?.unwrap_or_default();
        let promised: Promised = serde_json::from_slice(&stored).unwrap_or_default();
        self.state().said = Said::of(&promised);
        self.ask(|core, now| core.restore_promises(now, promised));
        Ok(())
    }
}
