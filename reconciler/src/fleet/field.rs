//! Reads typed values out of one value of the file, reporting every mistake and stopping at none.
//!
//! A reader returns `None` where it reported a problem, so a value made beside a problem is never
//! seen: with any problem there is no fleet.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use super::duration::Duration;
use super::node::{Entry, Kind, Node, Value, kind};
use super::span::{Span, Spanned};
use super::suggest::quote;
use crate::problem::Problem;

/// The problems found so far.
#[derive(Default)]
pub(super) struct Problems(pub Vec<Problem>);

impl Problems {
    pub fn add(&mut self, span: Span, message: impl Into<String>, hint: impl Into<String>) {
        self.0.push(Problem::new(span, message).with_hint(hint));
    }
}

/// A value that the file holds as a text.
pub(super) trait Text: Sized {
    /// What it is, with its article.
    const NOUN: &'static str;
    /// One that can be read.
    const EXAMPLE: &'static str;

    fn read(text: &str) -> Result<Self, Fault>;
}

/// Why a text is not the value it should be.
pub(super) struct Fault {
    pub message: String,
    pub hint: String,
}

/// A key with its value, and whose key it is.
#[derive(Clone, Copy)]
pub(super) struct Field<'n> {
    /// In messages, such as "worker `chat`"; empty at the top level.
    pub owner: &'n str,
    pub key: &'n str,
    pub key_span: Span,
    pub node: &'n Node,
}

impl<'n> Field<'n> {
    /// The field in messages.
    pub fn name(&self) -> String {
        name(self.key, self.owner)
    }

    fn wrong(&self, node: &Node, expected: &str, hint: impl Into<String>, problems: &mut Problems) {
        let is_item = self.key.is_empty();
        let span = if node.is_null() && !is_item {
            self.key_span
        } else {
            node.span
        };
        if !matches!(node.value, Value::Broken) {
            let (name, found) = (self.name(), node.found());
            problems.add(span, format!("{name} is {found}, not {expected}"), hint);
        }
    }

    /// What one entry of this section is called.
    pub fn singular(&self) -> &'n str {
        self.key.strip_suffix('s').unwrap_or(self.key)
    }

    pub fn text<T: Text>(&self, problems: &mut Problems) -> Option<Spanned<T>> {
        self.text_at(self.node, problems)
    }

    fn text_at<T: Text>(&self, node: &Node, problems: &mut Problems) -> Option<Spanned<T>> {
        let key = self.key;
        match &node.value {
            Value::Scalar { text, plain } if kind(text, *plain) == Kind::Text => {
                match T::read(text) {
                    Ok(value) => return Some(Spanned::new(value, node.span)),
                    Err(_) if text.trim().is_empty() => {
                        let message = format!("{} is empty", self.name());
                        problems.add(node.span, message, format!("give it {}", T::NOUN));
                    }
                    Err(fault) => problems.add(node.span, fault.message, fault.hint),
                }
            }
            Value::Scalar { text, .. } if !node.is_null() && T::read(text).is_ok() => {
                self.wrong(
                    node,
                    "a text",
                    format!("write `\"{text}\"`, in quotes"),
                    problems,
                );
            }
            _ => {
                let key = if key.is_empty() {
                    String::new()
                } else {
                    format!("{key}: ")
                };
                let hint = format!("such as `{key}{}`", T::EXAMPLE);
                self.wrong(node, T::NOUN, hint, problems);
            }
        }
        None
    }

    /// `true` or `false`.
    pub fn boolean(&self, problems: &mut Problems) -> Option<Spanned<bool>> {
        if let Value::Scalar { text, plain } = &self.node.value
            && kind(text, *plain) == Kind::Bool
        {
            let value = text.eq_ignore_ascii_case("true");
            return Some(Spanned::new(value, self.node.span));
        }
        let key = self.key;
        let hint = format!("write `{key}: true` or `{key}: false`");
        self.wrong(self.node, "true or false", hint, problems);
        None
    }

    /// A duration; without a unit only `0` is one.
    pub fn duration(&self, problems: &mut Problems) -> Option<Spanned<Duration>> {
        let number = match &self.node.value {
            Value::Scalar { text, plain } if kind(text, *plain) == Kind::Number => text,
            _ => return self.text(problems),
        };
        match number.parse::<Duration>() {
            Ok(zero) => Some(Spanned::new(zero, self.node.span)),
            Err(_) => {
                let with_unit = format!("{number}s");
                let example = match with_unit.parse::<Duration>() {
                    Ok(_) => &with_unit,
                    Err(_) => Duration::EXAMPLE,
                };
                let hint = format!("write its unit, such as `{}: {example}`", self.key);
                self.wrong(self.node, Duration::NOUN, hint, problems);
                None
            }
        }
    }

    pub fn number(
        &self,
        range: RangeInclusive<u32>,
        problems: &mut Problems,
    ) -> Option<Spanned<u32>> {
        let (low, high) = range.clone().into_inner();
        let span = self.node.span;
        let found = match &self.node.value {
            Value::Scalar { text, plain } if kind(text, *plain) == Kind::Number => text,
            other => {
                let key = self.key;
                let hint = match other {
                    Value::Scalar { text, .. } if text.parse::<u32>().is_ok() => {
                        format!("without quotes: `{key}: {text}`")
                    }
                    _ => format!("such as `{key}: {}`", low.max(1)),
                };
                self.wrong(self.node, "a number", hint, problems);
                return None;
            }
        };
        if let Some(number) = found.parse().ok().filter(|n| range.contains(n)) {
            return Some(Spanned::new(number, span));
        }
        let hint = if high < u32::MAX {
            format!("write a whole number from {low} to {high}")
        } else if found.parse::<u64>().is_ok_and(|n| n > u64::from(high)) {
            format!("write a whole number of at most {high}")
        } else {
            format!("write a whole number of at least {low}")
        };
        let message = format!("{} cannot be {}", self.name(), quote(found));
        problems.add(span, message, hint);
        None
    }

    /// A list with at least one value and none twice, of what of it can be read.
    pub fn list<T: Text + ToString>(&self, problems: &mut Problems) -> Option<Vec<Spanned<T>>> {
        let items = self.items(problems)?;
        Some(self.unique(items.into_iter().flatten(), problems))
    }

    /// The values of a list with at least one, `None` for each that cannot be read.
    pub fn items<T: Text>(&self, problems: &mut Problems) -> Option<Vec<Option<Spanned<T>>>> {
        let items = match &self.node.value {
            Value::List(items) => items,
            other => {
                let example = match other {
                    Value::Scalar { text, plain } if kind(text, *plain) == Kind::Text => text,
                    _ => T::EXAMPLE,
                };
                let quote = if example.starts_with('*') { "\"" } else { "" };
                let hint = format!("such as `{}: [{quote}{example}{quote}]`", self.key);
                self.wrong(self.node, "a list", hint, problems);
                return None;
            }
        };
        if items.is_empty() {
            let message = format!("{} is an empty list", self.name());
            let hint = format!("such as `{}: [{}]`", self.key, T::EXAMPLE);
            problems.add(self.node.span, message, hint);
            return None;
        }
        let owner = self.name();
        let item = Field {
            owner: &owner,
            key: "",
            ..*self
        };
        let items = items.iter().map(|node| item.text_at(node, problems));
        Some(items.collect())
    }

    /// The values without those that were there before.
    pub fn unique<T: ToString>(
        &self,
        values: impl Iterator<Item = Spanned<T>>,
        problems: &mut Problems,
    ) -> Vec<Spanned<T>> {
        let mut places = HashMap::new();
        let mut unique = Vec::new();
        for value in values {
            let text = value.value.to_string();
            let shown = quote(&text);
            if let Some(first) = places.insert(text, value.span) {
                let message = format!("{shown} stands twice in {}", self.name());
                problems.add(value.span, message, first_at(first, value.span));
            } else {
                unique.push(value);
            }
        }
        unique
    }

    /// A list, or one value in its place.
    pub fn one_or_list<T: Text + ToString>(
        &self,
        problems: &mut Problems,
    ) -> Option<Vec<Spanned<T>>> {
        match self.node.value {
            Value::List(_) => self.list(problems),
            _ => self.text(problems).map(|value| vec![value]),
        }
    }

    /// A mapping whose keys are names, in the order of the file. A name that is wrong or stands
    /// twice is left out.
    pub fn names<K: Text + Clone + Ord>(
        &self,
        problems: &mut Problems,
    ) -> Option<Vec<(Spanned<K>, &'n Node)>> {
        let Value::Mapping(entries) = &self.node.value else {
            let key = self.key;
            let hint = format!(
                "write each {} as `NAME: …`, below `{key}:` and indented",
                self.singular()
            );
            self.wrong(self.node, "a mapping of names", hint, problems);
            return None;
        };
        let mut places: BTreeMap<K, Span> = BTreeMap::new();
        let mut named = Vec::new();
        for Entry {
            key,
            key_span,
            node,
        } in entries
        {
            match K::read(key) {
                Err(fault) => problems.add(*key_span, fault.message, fault.hint),
                Ok(name) => {
                    if let Some(&first) = places.get(&name) {
                        let message = format!("{} {} stands twice", self.singular(), quote(key));
                        problems.add(*key_span, message, first_at(first, *key_span));
                    } else {
                        places.insert(name.clone(), *key_span);
                        named.push((Spanned::new(name, *key_span), node));
                    }
                }
            }
        }
        Some(named)
    }
}

pub(super) fn name(key: &str, owner: &str) -> String {
    match (key, owner) {
        ("", owner) => format!("a value in {owner}"),
        (key, "") => quote(key),
        (key, owner) => format!("{} of {owner}", quote(key)),
    }
}

/// The hint where something stands twice.
pub(super) fn first_at(first: Span, second: Span) -> String {
    if first.line == second.line {
        "remove one of the two".to_owned()
    } else {
        format!("remove one of the two: the first is on line {}", first.line)
    }
}
