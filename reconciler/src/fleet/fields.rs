//! Reads a mapping with known keys.

use std::collections::BTreeMap;

use super::field::{Field, Problems, first_at, name};
use super::node::{Entry, Node, Value};
use super::span::Span;
use super::suggest::{did_you_mean, nearest, quote};
use crate::problem::Problem;

/// A mapping with known keys. Those are the keys that are asked for before [`Fields::close`].
pub(super) struct Fields<'n> {
    owner: &'n str,
    span: Span,
    unread: BTreeMap<&'n str, (Span, &'n Node)>,
    known: Vec<&'static str>,
    /// The required keys that are not there.
    missing: Vec<(Vec<&'static str>, Problem)>,
    /// The known keys without a value.
    empty: Vec<(&'static str, Span)>,
}

impl<'n> Fields<'n> {
    /// `owner` is what the mapping describes, its place is `span`, and `example` shows one.
    pub fn open(
        node: &'n Node,
        owner: &'n str,
        span: Span,
        example: &str,
        problems: &mut Problems,
    ) -> Option<Self> {
        let entries = match &node.value {
            Value::Mapping(entries) => entries,
            Value::Broken => return None,
            _ => {
                let span = if node.is_null() { span } else { node.span };
                let owner = if owner.is_empty() { "the file" } else { owner };
                let message = if node.is_null() {
                    format!("{owner} has no value")
                } else {
                    format!("{owner} is {}, not a mapping", node.found())
                };
                problems.add(span, message, format!("such as `{example}`"));
                return None;
            }
        };
        let mut unread = BTreeMap::new();
        for Entry {
            key,
            key_span,
            node,
        } in entries
        {
            if let Some(&(first, _)) = unread.get(&**key) {
                let message = format!("{} stands twice", name(key, owner));
                problems.add(*key_span, message, first_at(first, *key_span));
            } else {
                unread.insert(&**key, (*key_span, node));
            }
        }
        Some(Self {
            owner,
            span,
            unread,
            known: Vec::new(),
            missing: Vec::new(),
            empty: Vec::new(),
        })
    }

    /// The field of that key, unless it is absent or has no value.
    pub fn optional(&mut self, key: &'static str) -> Option<Field<'n>> {
        self.known.push(key);
        let (key_span, node) = self.unread.remove(key)?;
        if node.is_null() {
            self.empty.push((key, key_span));
            return None;
        }
        Some(Field {
            owner: self.owner,
            key,
            key_span,
            node,
        })
    }

    /// The field of that key; a problem where it is absent or has no value.
    pub fn required(&mut self, key: &'static str, example: &str) -> Option<Field<'n>> {
        let field = self.optional(key);
        if field.is_none() {
            self.missing(vec![key], example);
        }
        field
    }

    /// A problem: one of these keys is needed. The message names the first.
    pub fn missing(&mut self, keys: Vec<&'static str>, example: &str) {
        let key = keys[0];
        let empty = self.empty.iter().find(|(empty, _)| keys.contains(empty));
        let (span, message) = match empty {
            Some((key, span)) => (*span, format!("{} has no value", name(key, self.owner))),
            None if self.owner.is_empty() => (self.span, format!("the file has no `{key}`")),
            None => (self.span, format!("{} has no `{key}`", self.owner)),
        };
        let problem = Problem::new(span, message);
        self.missing.push((
            keys,
            problem.with_hint(format!("such as `{key}: {example}`")),
        ));
    }

    /// Reports what is missing and the keys that nothing asked for. A key that is only mistyped is
    /// one problem, not two. Returns the keys that were meant.
    pub fn close(self, problems: &mut Problems) -> Vec<&'static str> {
        let mut meant = Vec::new();
        for (key, (span, _)) in &self.unread {
            let place = if self.owner.is_empty() {
                "at the top level".to_owned()
            } else {
                format!("in {}", self.owner)
            };
            let message = format!("unknown key {} {place}", quote(key));
            let known = self.known.iter().copied();
            meant.extend(nearest(key, known.clone()));
            problems.add(*span, message, did_you_mean(key, known, "known keys"));
        }
        let missing = self.missing.into_iter();
        let missing = missing.filter(|(keys, _)| !keys.iter().any(|key| meant.contains(key)));
        problems.0.extend(missing.map(|(_, problem)| problem));
        meant
    }
}
