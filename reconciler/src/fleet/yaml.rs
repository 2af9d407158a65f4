//! Reads YAML into a tree of nodes, within bounds.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, StrInput, Tag};

use super::node::{Entry, Node, Value};
use super::span::{Lines, Span};
use super::suggest::quote;
use super::syntax;
use crate::problem::Problem;

/// Nodes and characters that aliases may add: a file of a few lines can ask for billions.
const MOST_COPIED: usize = 250_000;
/// Far more than a fleet needs, and few enough for recursion.
const DEEPEST: usize = 48;

/// Reads the one document of a text. `None` for a text without one. A text that is not YAML has
/// one problem; what YAML allows and a configuration does not may be several.
pub fn read(text: &str) -> Result<(Option<Node>, Vec<Problem>), Problem> {
    let mut options = granit_parser::Options::default();
    options.emit_unresolved_aliases = true;
    options.flow_nesting_limit = DEEPEST;
    options.block_nesting_limit = DEEPEST;
    let mut reader = Reader {
        text,
        lines: Lines::new(text),
        parser: Parser::new_from_str_with_options(text, options),
        problems: Vec::new(),
        anchors: HashMap::new(),
        copied: 0,
        depth: 0,
        open: Vec::new(),
        last: (0, 0),
    };
    let root = reader.document()?;
    Ok((root, reader.problems))
}

struct Reader<'t> {
    text: &'t str,
    lines: Lines,
    parser: Parser<'t, StrInput<'t>>,
    problems: Vec<Problem>,
    anchors: HashMap<usize, Rc<Node>>,
    copied: usize,
    depth: usize,
    /// Where the collections begin that are not closed yet.
    open: Vec<usize>,
    /// Where the last event begins and ends.
    last: (usize, usize),
}

impl<'t> Reader<'t> {
    /// The next event and its offsets.
    fn next(&mut self) -> Result<(Event<'t>, usize, usize), Problem> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => {
                let (start, end) = (span.start.index(), span.end.index());
                self.last = (start, end);
                Ok((event, start, end))
            }
            Some(Err(error)) => Err(self.syntax(&error)),
            None => Ok((Event::StreamEnd, self.last.1, self.last.1)),
        }
    }

    fn syntax(&self, error: &ScanError) -> Problem {
        syntax::problem(&syntax::Stop {
            text: self.text,
            lines: &self.lines,
            kind: error.kind(),
            at: error.marker().index(),
            open: &self.open,
            last: self.last,
        })
    }

    fn report(&mut self, span: Span, message: impl Into<String>, hint: &str) {
        self.problems
            .push(Problem::new(span, message).with_hint(hint));
    }

    fn document(&mut self) -> Result<Option<Node>, Problem> {
        let mut root = None;
        loop {
            let (event, start, end) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(root),
                Event::DocumentStart(..) if root.is_some() => {
                    let span = self.lines.span(start, end);
                    let message = "a second YAML document starts here";
                    self.report(span, message, "one file holds one document: split the file");
                    return Ok(root);
                }
                Event::DocumentStart(..) => {
                    let (event, start, end) = self.next()?;
                    root = Some(self.node(event, start, end)?);
                }
                _ => {}
            }
        }
    }

    /// The node that begins with this event.
    fn node(&mut self, event: Event<'t>, start: usize, end: usize) -> Result<Node, Problem> {
        let span = self.lines.span(start, end);
        let (value, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                // The parser writes an absent value as `~` at an empty place.
                let text = if start == end { "".into() } else { text };
                let is_str = tag
                    .as_ref()
                    .is_some_and(|tag| tag.core_suffix() == Some("str"));
                let plain = style == ScalarStyle::Plain && !is_str;
                let text = Rc::from(&*text);
                (Value::Scalar { text, plain }, anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => {
                (self.collection(start, Self::list)?, anchor, tag)
            }
            Event::MappingStart(_, anchor, tag) => {
                (self.collection(start, Self::mapping)?, anchor, tag)
            }
            Event::Alias(id) => return self.alias(id, span),
            Event::UnresolvedAlias(name) => {
                let message = format!(
                    "{} without quotes is a YAML alias, and no {} stands before it",
                    quote(&format!("*{name}")),
                    quote(&format!("&{name}"))
                );
                let hint = format!(
                    "for the text itself write {}",
                    quote(&format!("\"*{name}\""))
                );
                self.report(span, message, &hint);
                (Value::Broken, 0, None)
            }
            _ => (Value::Broken, 0, None),
        };
        if let Some(tag) = tag {
            self.check_tag(&tag, span);
        }
        let is_flow = matches!(value, Value::List(_) | Value::Mapping(_)) && end > start;
        let end = if is_flow { self.last.1 } else { end };
        let span = self.lines.span(start, end);
        let node = Node { value, span };
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::new(node.clone()));
        }
        Ok(node)
    }

    fn collection(
        &mut self,
        start: usize,
        rest: fn(&mut Self) -> Result<Value, Problem>,
    ) -> Result<Value, Problem> {
        self.open.push(start);
        self.depth += 1;
        let value = rest(self)?;
        self.depth -= 1;
        self.open.pop();
        Ok(value)
    }

    fn list(&mut self) -> Result<Value, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd | Event::StreamEnd, ..) => return Ok(Value::List(items)),
                (event, start, end) => items.push(self.node(event, start, end)?),
            }
        }
    }

    fn mapping(&mut self) -> Result<Value, Problem> {
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, start, end) = self.next()?;
            if matches!(event, Event::MappingEnd | Event::StreamEnd) {
                break;
            }
            let key = self.node(event, start, end)?;
            let (event, start, end) = self.next()?;
            let node = self.node(event, start, end)?;
            match key.value {
                Value::Scalar { text, plain: true } if &*text == "<<" => merged.push(node),
                Value::Scalar { text, .. } => entries.push(Entry {
                    key: text,
                    key_span: key.span,
                    node,
                }),
                Value::Broken => {}
                Value::List(_) | Value::Mapping(_) => {
                    let message = format!("a key is a name, not {}", key.found());
                    self.report(key.span, message, "write a name before the `:`");
                }
            }
        }
        if !merged.is_empty() {
            let mut present = entries.iter().map(|entry| entry.key.clone()).collect();
            for node in merged {
                self.merge(&mut entries, &mut present, node);
            }
        }
        Ok(Value::Mapping(entries))
    }

    /// `<<: *anchor`: the entries of another mapping, where this one has none of that name.
    fn merge(&mut self, entries: &mut Vec<Entry>, present: &mut HashSet<Rc<str>>, node: Node) {
        match node.value {
            Value::Mapping(others) => {
                let others = others.into_iter();
                entries.extend(others.filter(|other| present.insert(other.key.clone())));
            }
            Value::List(nodes) => {
                for node in nodes {
                    self.merge(entries, present, node);
                }
            }
            Value::Broken => {}
            Value::Scalar { .. } => {
                let message = format!("`<<` takes a mapping, not {}", node.found());
                let hint = "such as `<<: *name` after `&name` at another mapping";
                self.report(node.span, message, hint);
            }
        }
    }

    /// The anchored node again, at the place of the alias; what it holds keeps its own place.
    fn alias(&mut self, id: usize, span: Span) -> Result<Node, Problem> {
        let Some(node) = self.anchors.get(&id) else {
            let message = "this alias stands inside of what it repeats";
            self.report(span, message, "write out what is meant in its place");
            let value = Value::Broken;
            return Ok(Node { value, span });
        };
        let (weight, depth) = node.extent();
        self.copied += weight;
        if self.copied > MOST_COPIED || self.depth + depth > DEEPEST {
            let message = "the aliases of this file expand to more than such a file can be";
            let hint = "write the values out where they are used";
            return Err(Problem::new(span, message).with_hint(hint));
        }
        let value = node.value.clone();
        Ok(Node { value, span })
    }

    fn check_tag(&mut self, tag: &Tag, span: Span) {
        let known = ["str", "int", "float", "bool", "null", "map", "seq"];
        if !tag
            .core_suffix()
            .is_some_and(|suffix| known.contains(&suffix))
        {
            let message = format!("the tag {} means nothing here", quote(&tag.original()));
            self.report(span, message, "remove the tag");
        }
    }
}
