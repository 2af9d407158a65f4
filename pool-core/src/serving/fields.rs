//! Reads a JSON object field by field and remembers everything that is wrong with it.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::request::{Violation, Violations};

/// Violations that one answer tells; of those beyond only the number.
const MOST: usize = 100;

/// What is wrong with a request, in bounded memory.
#[derive(Debug, Default)]
pub(super) struct Faults {
    told: Vec<Violation>,
    more: usize,
}

impl Faults {
    pub fn push(&mut self, violation: Violation) {
        if self.told.len() < MOST {
            self.told.push(violation);
        } else {
            self.more += 1;
        }
    }

    pub fn extend(&mut self, others: Self) {
        self.more += others.more;
        others
            .told
            .into_iter()
            .for_each(|violation| self.push(violation));
    }

    /// Nothing wrong, or at most [`MOST`] violations, the last of which counts those that are left out.
    pub fn none(mut self) -> Result<(), Violations> {
        if self.told.is_empty() {
            return Ok(());
        }
        if self.more > 0 {
            let left_out = self.more + self.told.drain(MOST - 1..).count();
            self.told.push(Violation {
                field: String::new(),
                constraint: format!("at most {MOST} violations are told"),
                message: format!("{left_out} more violations are left out"),
            });
        }
        Err(Violations(self.told))
    }
}

/// The fields of an object that were not read yet, and what was wrong with those that were.
pub(super) struct Fields {
    left: Map<String, Value>,
    /// Put before every name: empty, or such as `messages[0].`.
    prefix: String,
    faults: Faults,
}

impl Fields {
    pub fn new(object: Map<String, Value>, prefix: String) -> Self {
        Self {
            left: object,
            prefix,
            faults: Faults::default(),
        }
    }

    /// Records that `field` does not keep to `constraint`.
    pub fn violate(&mut self, field: &str, constraint: &str, message: String) {
        self.faults.push(Violation {
            field: format!("{}{field}", self.prefix),
            constraint: constraint.to_owned(),
            message,
        });
    }

    /// The raw value; `null` counts as absent, and `1.0` is the whole number 1, as in JSON Schema.
    pub fn take(&mut self, field: &str) -> Option<Value> {
        let value = self.left.remove(field).filter(|value| !value.is_null())?;
        Some(whole(&value).unwrap_or(value))
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

    /// A field that has no effect here: absent, or a value that asks for nothing.
    pub fn harmless(&mut self, field: &str, constraint: &str, check: impl Fn(&Value) -> bool) {
        if self.take(field).is_some_and(|value| !check(&value)) {
            let message = format!("it must be {constraint}: this worker supports nothing else");
            self.violate(field, constraint, message);
        }
    }

    /// Takes over what another object of the same request had wrong.
    pub fn extend(&mut self, faults: Faults) {
        self.faults.extend(faults);
    }

    /// Everything that was wrong, the fields that nobody read among it.
    pub fn finish(mut self, known: &str) -> Faults {
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
        self.faults
    }
}

/// A number that has no fraction although it is written with a point.
pub(super) fn whole(value: &Value) -> Option<Value> {
    /// Up to here every whole number has its own f64.
    const MOST: f64 = 9_007_199_254_740_992.0;
    let number = value.as_f64().filter(|_| value.is_f64())?;
    (number.fract() == 0.0 && number.abs() <= MOST).then(|| Value::from(number as i64))
}
