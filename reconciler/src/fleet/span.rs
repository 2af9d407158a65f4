//! Where a value stands in fleet.yaml.

use std::borrow::Cow;
use std::ops::Deref;

use schemars::{JsonSchema, Schema, SchemaGenerator};

pub use crate::problem::Span;
use crate::problem::lines;

/// A value and where it was written.
///
/// For the entry of a mapping, such as one pool, the place is that of its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    pub value: T,
    pub span: Span,
}

impl<T> Spanned<T> {
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

impl<T> Deref for Spanned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

/// The place is no part of the file's format.
impl<T: JsonSchema> JsonSchema for Spanned<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Finds lines and columns from offsets in characters.
pub(super) struct Lines {
    /// Offset of each line and of its end.
    bounds: Vec<(usize, usize)>,
}

impl Lines {
    pub fn new(text: &str) -> Self {
        let mut start = 0;
        let bounds = text.split('\n').zip(lines(text)).map(|(whole, shown)| {
            let bound = (start, start + shown.chars().count());
            start += whole.chars().count() + 1;
            bound
        });
        let mut bounds: Vec<_> = bounds.collect();
        // What lies behind the last line with content is shown at the end of that line.
        while bounds.len() > 1 && bounds.last().is_some_and(|(start, end)| start == end) {
            bounds.pop();
        }
        Self { bounds }
    }

    /// The place from `start` up to `end`, cut at the end of its line.
    pub fn span(&self, start: usize, end: usize) -> Span {
        let line = self.bounds.partition_point(|&(first, _)| first <= start);
        let (first, last) = self.bounds[line.max(1) - 1];
        let start = start.min(last);
        Span {
            line: line.max(1),
            column: start - first + 1,
            length: end.min(last).saturating_sub(start).max(1),
        }
    }
}
