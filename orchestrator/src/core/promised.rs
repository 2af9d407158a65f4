//! What clients outside were told, as it is stored: a restart keeps it, and takes tasks for the models whose workers it expects.

use pool_core::name::ModelId;
use serde::{Deserialize, Serialize};

use super::Core;
use super::ids::{Now, TenantId};
use super::model::Expected;

/// What clients outside rely on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Promised {
    /// When this was so, in milliseconds since 1970.
    pub unix_ms: u64,
    /// Those about one thing in the order in which they were made.
    pub promises: Vec<Promise>,
    pub served: Vec<Served>,
}

/// A model that workers serve.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Served {
    pub model: ModelId,
    /// The longest context.
    pub context_length: u64,
    /// Of all its workers.
    pub tokens_per_ms: f64,
}

/// A client that was told when to come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Promise {
    pub tenant: TenantId,
    /// A hash of what it asks for, by which it is known again.
    pub request: u64,
    /// When it was told to come, in milliseconds after [`Promised::unix_ms`]; 0 where that is over.
    pub in_ms: u64,
    pub of: Of,
}

/// What is kept for a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Of {
    /// A place in the queue of a model.
    Place(ModelId),
    /// So many tokens of its tenant's minute.
    Tokens(u64),
}

impl Core {
    /// What clients were told and still holds, and the models that are served, to be stored.
    pub fn promised(&self, now: Now) -> Promised {
        let in_ms = |at: u64| at.saturating_sub(now.mono_ms);
        let places = self.models.iter().flat_map(|(name, model)| {
            let told = model.promises.iter();
            told.map(move |((tenant, request), at)| Promise {
                tenant: tenant.clone(),
                request: *request,
                in_ms: in_ms(at),
                of: Of::Place(name.clone()),
            })
        });
        let tokens = self.tenants.turns().map(|(tenant, turn)| Promise {
            tenant: tenant.clone(),
            request: turn.request,
            in_ms: in_ms(turn.at),
            of: Of::Tokens(turn.cost),
        });
        let served = self.models.iter().filter_map(|(name, model)| {
            Some(Served {
                model: name.clone(),
                context_length: model.context_length()?,
                tokens_per_ms: model.tokens_per_ms(),
            })
        });
        Promised {
            unix_ms: now.unix_ms,
            promises: places.chain(tokens).collect(),
            served: served.collect(),
        }
    }

    /// Takes up what clients were told before a restart. Who should have come meanwhile may come now. For the models that were
    /// served tasks are admitted until their workers could have been heard of. Call it once, after [`Core::set_tenants`].
    pub fn restore_promises(&mut self, now: Now, promised: Promised) {
        // A wall clock that was set back makes nobody wait for longer than it was told.
        let passed = now.unix_ms.saturating_sub(promised.unix_ms);
        let until = now.mono_ms + self.silence_ms();
        for served in promised.served {
            let model = self.models.entry(served.model).or_default();
            model.expected = Some(Expected {
                context_length: served.context_length,
                tokens_per_ms: served.tokens_per_ms,
                until,
            });
        }
        for promise in promised.promises {
            let at = now.mono_ms + promise.in_ms.saturating_sub(passed);
            let Promise {
                tenant, request, ..
            } = promise;
            match promise.of {
                Of::Place(model) => {
                    let model = self.models.entry(model).or_default();
                    model.promises.make((tenant, request), at);
                }
                Of::Tokens(cost) => self.tenants.promise(&tenant, at, request, cost),
            }
        }
    }
}
