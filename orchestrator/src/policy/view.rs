//! Facts as scripts see them: to be read, shared between calls, never changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use rhai::{Array, Dynamic, Engine, ImmutableString, Map};
use serde::Serialize;

/// Facts for scripts. Clones are cheap: what stays the same between calls is turned into a view once.
#[derive(Debug, Clone)]
pub struct View(Dynamic);

/// The facts cannot be shown to scripts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this cannot be shown to scripts: {0}")]
pub struct Unviewable(String);

impl View {
    pub fn of(facts: &impl Serialize) -> Result<Self, Unviewable> {
        let facts =
            rhai::serde::to_dynamic(facts).map_err(|error| Unviewable(error.to_string()))?;
        Ok(Self(freeze(facts)))
    }

    /// The same record with the fields of another one on top, which hide those of the same name.
    #[must_use]
    pub fn with(&self, more: &Self) -> Self {
        let layers = |view: &Self| Some(view.0.read_lock::<Record>()?.0.clone());
        match (layers(self), layers(more)) {
            (Some(below), Some(above)) => Self(Dynamic::from(Record([below, above].concat()))),
            _ => self.clone(),
        }
    }

    /// A record with one field: these in their order.
    pub fn list(name: &str, items: Vec<Self>) -> Self {
        let items: Array = items.into_iter().map(|item| item.0).collect();
        let fields = Map::from_iter([(name.into(), Dynamic::from(items))]);
        Self(Dynamic::from(Record::from(fields)))
    }

    pub(super) fn value(&self) -> Dynamic {
        self.0.clone()
    }
}

/// An object of the facts: its layers, the topmost last. A script's change to it is an error, and its arrays are copies.
#[derive(Debug, Clone)]
struct Record(Vec<Arc<Map>>);

impl From<Map> for Record {
    fn from(fields: Map) -> Self {
        Self(vec![Arc::new(fields)])
    }
}

impl Record {
    fn get(&self, name: &str) -> Option<&Dynamic> {
        self.0.iter().rev().find_map(|layer| layer.get(name))
    }
}

fn freeze(mut value: Dynamic) -> Dynamic {
    if value.is_map() {
        let mut fields = value.cast::<Map>();
        fields.values_mut().for_each(freeze_in_place);
        return Dynamic::from(Record::from(fields));
    }
    if let Ok(mut items) = value.as_array_mut() {
        items.iter_mut().for_each(freeze_in_place);
    }
    value
}

fn freeze_in_place(value: &mut Dynamic) {
    *value = freeze(std::mem::take(value));
}

/// `record.field` and `record["field"]` (`()` where there is none), `"field" in record`, `record.keys()`.
pub(super) fn register(engine: &mut Engine) {
    engine
        .register_type_with_name::<Record>("record")
        .register_indexer_get(|record: &mut Record, name: ImmutableString| {
            record.get(&name).cloned().unwrap_or(Dynamic::UNIT)
        })
        .register_fn("contains", |record: &mut Record, name: ImmutableString| {
            record.get(&name).is_some()
        })
        .register_fn("keys", |record: &mut Record| {
            let names: BTreeSet<_> = record.0.iter().flat_map(|layer| layer.keys()).collect();
            let names = names.into_iter().map(|name| name.to_string().into());
            names.collect::<Array>()
        });
}
