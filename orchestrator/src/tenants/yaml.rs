//! A YAML or JSON text as a tree that knows its places.

use granit_parser::{Event, Parser};

use super::problem::{Place, Problem};

/// Far more than a file of tenants needs, and few enough for recursion.
const DEEPEST: usize = 16;

#[derive(Debug)]
pub(super) struct Node {
    pub place: Place,
    pub value: Value,
}

#[derive(Debug)]
pub(super) enum Value {
    Scalar(String),
    List(Vec<Node>),
    Mapping(Vec<(Key, Node)>),
    /// Something that the file may not have; the problem is told.
    Refused,
}

#[derive(Debug)]
pub(super) struct Key {
    pub place: Place,
    pub text: String,
}

/// The one document of a text; what is wrong with it goes to `problems`. `None` for a text that is empty or no YAML.
pub(super) fn read(text: &str, problems: &mut Vec<Problem>) -> Option<Node> {
    let mut options = granit_parser::Options::default();
    options.flow_nesting_limit = DEEPEST;
    options.block_nesting_limit = DEEPEST;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut events = Vec::new();
    for event in parser {
        match event {
            Ok((event, span)) => events.push((event, Place::of(&span.start))),
            Err(error) => {
                let place = Place::of(error.marker());
                let message = format!("this is no YAML: {}", error.info());
                problems.push(Problem::new(
                    place,
                    message,
                    "check the indentation, the quotes and the brackets",
                ));
                return None;
            }
        }
    }
    let mut events = events.into_iter();
    let is_start = |event: &Event<'_>| matches!(event, Event::DocumentStart(..));
    events.find(|(event, _)| is_start(event))?;
    let (event, place) = events.next()?;
    let root = node(event, place, &mut events, problems);
    if let Some((_, place)) = events.find(|(event, _)| is_start(event)) {
        problems.push(Problem::new(
            place,
            "a second document starts here",
            "put all tenants into one",
        ));
    }
    Some(root)
}

fn node<'t>(
    event: Event<'t>,
    place: Place,
    rest: &mut impl Iterator<Item = (Event<'t>, Place)>,
    problems: &mut Vec<Problem>,
) -> Node {
    let value = match event {
        Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut items = Vec::new();
            while let Some((event, place)) = rest.next()
                && event != Event::SequenceEnd
            {
                items.push(node(event, place, rest, problems));
            }
            Value::List(items)
        }
        Event::MappingStart(..) => Value::Mapping(mapping(rest, problems)),
        _ => {
            problems.push(Problem::new(
                place,
                "this cannot stand here",
                "write the value out, without anchors and aliases",
            ));
            Value::Refused
        }
    };
    Node { place, value }
}

fn mapping<'t>(
    rest: &mut impl Iterator<Item = (Event<'t>, Place)>,
    problems: &mut Vec<Problem>,
) -> Vec<(Key, Node)> {
    let mut entries: Vec<(Key, Node)> = Vec::new();
    while let Some((event, place)) = rest.next()
        && event != Event::MappingEnd
    {
        let key = node(event, place, rest, problems);
        let Some((event, place)) = rest.next() else {
            break;
        };
        let value = node(event, place, rest, problems);
        let Value::Scalar(text) = key.value else {
            problems.push(Problem::new(
                key.place,
                "a key is a word",
                "write `key: value`",
            ));
            continue;
        };
        if entries.iter().any(|(other, _)| other.text == text) {
            let message = format!("`{text}` stands here a second time");
            problems.push(Problem::new(key.place, message, "keep one of them"));
            continue;
        }
        let place = key.place;
        entries.push((Key { place, text }, value));
    }
    entries
}
