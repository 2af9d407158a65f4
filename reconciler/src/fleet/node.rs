//! A YAML document as a tree in which every node knows its place.

use std::rc::Rc;

use super::span::Span;
use super::suggest::quote;

#[derive(Debug, Clone)]
pub struct Node {
    pub value: Value,
    pub span: Span,
}

#[derive(Debug, Clone)]
pub enum Value {
    /// `plain` means without quotes, so that `4` is a number.
    Scalar {
        text: Rc<str>,
        plain: bool,
    },
    List(Vec<Node>),
    /// In the order of the file, keys that stand twice kept.
    Mapping(Vec<Entry>),
    /// A problem was reported here already.
    Broken,
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub key: Rc<str>,
    pub key_span: Span,
    pub node: Node,
}

/// What a scalar is by the core schema of YAML 1.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    Text,
}

impl Node {
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain } if kind(text, *plain) == Kind::Null)
    }

    /// What stands here, for messages.
    pub fn found(&self) -> String {
        match &self.value {
            Value::Scalar { text, plain } => match kind(text, *plain) {
                Kind::Null => "nothing".to_owned(),
                Kind::Bool => quote(text),
                Kind::Number => format!("the number {}", quote(text)),
                Kind::Text if text.is_empty() => "an empty text".to_owned(),
                Kind::Text => format!("the text {}", quote(text)),
            },
            Value::List(_) => "a list".to_owned(),
            Value::Mapping(_) => "a mapping".to_owned(),
            Value::Broken => "not readable".to_owned(),
        }
    }

    /// Nodes and characters of the tree, and its depth.
    pub fn extent(&self) -> (usize, usize) {
        let with = |(weight, depth): (usize, usize), node: &Self| {
            let (more, deep) = node.extent();
            (weight + more, depth.max(deep + 1))
        };
        match &self.value {
            Value::Scalar { text, .. } => (1 + text.len(), 0),
            Value::Broken => (1, 0),
            Value::List(items) => items.iter().fold((1, 1), with),
            Value::Mapping(entries) => entries.iter().fold((1, 1), |(weight, depth), entry| {
                with((weight + entry.key.len(), depth), &entry.node)
            }),
        }
    }
}

/// What a scalar is: `plain` means without quotes.
pub(super) fn kind(text: &str, plain: bool) -> Kind {
    if !plain {
        return Kind::Text;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all = |text: &str, is_digit: fn(&char) -> bool| {
        !text.is_empty() && text.chars().all(|c| is_digit(&c))
    };
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Kind::Bool,
        _ if [".inf", ".Inf", ".INF"].contains(&unsigned) => Kind::Number,
        ".nan" | ".NaN" | ".NAN" => Kind::Number,
        _ if unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.ends_with(|c: char| c.is_ascii_digit() || c == '.')
            && unsigned.parse::<f64>().is_ok() =>
        {
            Kind::Number
        }
        _ if text
            .strip_prefix("0x")
            .is_some_and(|d| all(d, char::is_ascii_hexdigit)) =>
        {
            Kind::Number
        }
        _ if text
            .strip_prefix("0o")
            .is_some_and(|d| all(d, |c| c.is_digit(8))) =>
        {
            Kind::Number
        }
        _ => Kind::Text,
    }
}
