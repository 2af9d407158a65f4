//! Reads a JSON object field by field and remembers everything that is wrong with it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::request::Violation;

/// The fields of an object that were not read yet, and what was wrong with those that were.
pub(super) struct Fields {
    left: Map<String, Value>,
    /// Put before every name: empty, or such as `messages[0].`.
    prefix: String,
    violations: Vec<Violation>,
}

impl Fields {
    pub fn new(object: Map<String, Value>, prefix: String) -> Self {
        Self {
            left: object,
            prefix,
            violations: Vec::new(),
        }
    }

    /// Records that `field` does not keep to `constraint`.
    pub fn violate(&mut self, field: &str, constraint: &str, message: String) {
        self.violations.push(Violation {
            field: format!("{}{field}", self.prefix),
            constraint: constraint.to_owned(),
            message,
        });
    }

    /// The raw value; `null` counts as absent.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        self.left.remove(field).filter(|value| !value.is_null())
    }

    /// The value where it is there, has the right type and passes the check.
    ///
    /// The message never repeats a value: it may be a prompt.
    pub fn optional<T: DeserializeOwned>(
        &mut self,
        field: &str,
        constraint: &str,
        check: impl Fn(&T) -> bool,
    ) -> Option<T> {
        let value = self.take(field)?;
        match T::deserialize(value) {
            Ok(value) if check(&value) => Some(value),
            _ => {
                self.violate(field, constraint, format!("it must be {constraint}"));
                None
            }
        }
    }

    /// As [`Self::optional`], and its absence is a violation.
    pub fn required<T: DeserializeOwned>(
        &mut self,
        field: &str,
        constraint: &str,
        check: impl Fn(&T) -> bool,
    ) -> Option<T> {
        if self.left.get(field).is_none_or(Value::is_null) {
            self.left.remove(field);
            self.violate(field, constraint, format!("it is missing: {constraint}"));
            return None;
        }
        self.optional(field, constraint, check)
    }

    /// Takes over what another object of the same request had wrong.
    pub fn extend(&mut self, violations: Vec<Violation>) {
        self.violations.extend(violations);
    }

    /// Everything that was wrong, the fields that nobody read among it.
    pub fn finish(mut self, known: &str) -> Vec<Violation> {
        for name in std::mem::take(&mut self.left)
            .into_iter()
            .map(|(name, _)| name)
        {
            let name: String = name.chars().take(64).collect();
            self.violate(
                &name,
                "known",
                format!("there is no such field; there are {known}"),
            );
        }
        self.violations
    }
}
