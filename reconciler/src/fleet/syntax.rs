//! What is wrong with a text that is not YAML, in words for people.

use granit_parser::ErrorKind;

use super::span::{Lines, Span};
use super::suggest::quote;
use crate::problem::Problem;

/// Where reading ended. Offsets count characters.
pub(super) struct Stop<'a> {
    pub text: &'a str,
    pub lines: &'a Lines,
    pub kind: &'a ErrorKind,
    pub at: usize,
    /// Where the collections begin that are not closed yet, from the outermost on.
    pub open: &'a [usize],
    /// Where the last event begins and ends.
    pub last: (usize, usize),
}

pub(super) fn problem(stop: &Stop<'_>) -> Problem {
    let chars: Vec<char> = stop.text.chars().collect();
    let at = stop.at;
    let here = match stop.kind {
        ErrorKind::UnexpectedCharacter { .. } => stop.lines.span(at, at + 1),
        ErrorKind::UnknownQuotedScalarEscape => {
            let escape = unknown_escape(&chars, at);
            stop.lines.span(escape, escape + 2)
        }
        _ => stop.lines.span(at, word_end(&chars, at)),
    };
    let (place, message, hint) = about_tabs(stop, &chars)
        .or_else(|| about_quotes(stop, &chars))
        .or_else(|| about_brackets(stop, &chars, here))
        .or_else(|| about_colons(stop, &chars))
        .unwrap_or_else(|| {
            let (message, hint) = about_the_rest(stop.kind, chars.get(at).copied());
            (here, message, hint)
        });
    let problem = Problem::new(place, message);
    if hint.is_empty() {
        problem
    } else {
        problem.with_hint(hint)
    }
}

/// Place, message and hint.
type Advice = Option<(Span, String, String)>;

fn about_tabs(stop: &Stop<'_>, chars: &[char]) -> Advice {
    if !matches!(
        stop.kind,
        ErrorKind::TabNotAllowed
            | ErrorKind::TabInBlockIndentation
            | ErrorKind::TabInIndentation
            | ErrorKind::TabInPlainScalar
            | ErrorKind::TabAtBlockScalarStart
            | ErrorKind::UnexpectedCharacter { character: '\t' }
    ) {
        return None;
    }
    let from = line_start(chars, stop.at);
    let tab = from + chars.get(from..)?.iter().position(|&c| c == '\t')?;
    let place = stop.lines.span(tab, tab + 1);
    let message = "a tab cannot stand between the parts of YAML".to_owned();
    Some((place, message, "indent with spaces".to_owned()))
}

fn about_quotes(stop: &Stop<'_>, chars: &[char]) -> Advice {
    if !matches!(
        stop.kind,
        ErrorKind::UnclosedQuotedScalar
            | ErrorKind::InvalidQuotedScalarIndent
            | ErrorKind::DocumentIndicatorInQuotedScalar
    ) {
        return None;
    }
    let quote = opening_quote(chars, stop.last.1, stop.at)?;
    let place = stop.lines.span(quote, quote + 1);
    let c = chars[quote];
    let message = format!("this `{c}` is not closed");
    Some((place, message, format!("close it with `{c}`")))
}

fn about_brackets(stop: &Stop<'_>, chars: &[char], here: Span) -> Advice {
    if let ErrorKind::MismatchedFlowCollectionEnd { open, close } = stop.kind {
        let message = format!("this `{open}` is closed by a `{close}`");
        let hint = format!(
            "close it with `{}`, or open the other one too",
            closing(*open)
        );
        return Some((here, message, hint));
    }
    if !matches!(
        stop.kind,
        ErrorKind::ExpectedFlowMappingSeparator
            | ErrorKind::ExpectedFlowSequenceSeparator
            | ErrorKind::UnexpectedEofFlowSequence
            | ErrorKind::UnexpectedEofFlowMapping
            | ErrorKind::UnexpectedEofImplicitFlowMapping
            | ErrorKind::UnclosedFlowCollection { .. }
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::InvalidFlowScalarIndent
            | ErrorKind::BlockEntryInFlowCollection
    ) {
        return None;
    }
    let is_bracket = |&&open: &&usize| matches!(chars.get(open), Some('[' | '{'));
    let open = *stop.open.iter().rfind(is_bracket)?;
    let close = closing(chars[open]);
    if line_start(chars, open) == line_start(chars, stop.at) && stop.at > open {
        let message = format!("a `,` or `{close}` is missing here");
        let hint = "a value with `: `, `,` or brackets in it needs quotes";
        return Some((here, message, hint.to_owned()));
    }
    let place = stop.lines.span(open, open + 1);
    let message = format!("this `{}` is not closed", chars[open]);
    Some((place, message, format!("close it with `{close}`")))
}

fn about_colons(stop: &Stop<'_>, chars: &[char]) -> Advice {
    if !matches!(
        stop.kind,
        ErrorKind::MappingValueNotAllowed
            | ErrorKind::InvalidColonPlacement
            | ErrorKind::MappingKeyNotAllowed
            | ErrorKind::InvalidSimpleKey
    ) {
        return None;
    }
    let start = line_start(chars, stop.at);
    let value = chars.get(stop.last.0..stop.at)?;
    if stop.last.0 >= start {
        let place = stop.lines.span(stop.at, stop.at + 1);
        let message = "a second `:` in one line".to_owned();
        let hint = "put a value that holds `: ` in quotes";
        return Some((place, message, hint.to_owned()));
    }
    let first = stop.lines.span(stop.last.0, stop.last.1);
    let mut words = value.split(|&c| c == '\n');
    if words.next()?.contains(&':') {
        let hint = "put a space behind it".to_owned();
        return Some((first, "no space follows this `:`".to_owned(), hint));
    }
    let blanks = chars[start..stop.at].iter().take_while(|c| **c == ' ');
    let place = stop.lines.span(start + blanks.count(), stop.at);
    let message = format!("this line continues the value of line {}", first.line);
    let hint = format!("indent it as the key of line {} is", first.line);
    Some((place, message, hint))
}

fn about_the_rest(kind: &ErrorKind, found: Option<char>) -> (String, String) {
    let (message, hint) = match kind {
        ErrorKind::MissingAnchorOrAliasName => (
            format!(
                "a value cannot begin with {}",
                quote(&found.unwrap_or('*').to_string())
            ),
            "put it in quotes, such as `\"*\"`",
        ),
        ErrorKind::UnexpectedCharacter { character } if character.is_control() => (
            format!("{} cannot stand in YAML", quote(&character.to_string())),
            "remove the character",
        ),
        ErrorKind::UnexpectedCharacter { character } => (
            format!(
                "a value cannot begin with {}",
                quote(&character.to_string())
            ),
            "put it in quotes",
        ),
        ErrorKind::SimpleKeyExpected => (
            "this is no key: a `:` is missing".to_owned(),
            "write `key: value`, or indent the line deeper to continue the value before it",
        ),
        ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::ExpectedBlockSequenceEntry
        | ErrorKind::InvalidIndentation
        | ErrorKind::InvalidFlowScalarIndent
        | ErrorKind::InvalidBlockScalarIndent
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::ExpectedDocumentStart => (
            "this does not continue what stands before it".to_owned(),
            "indent this line as its neighbours are",
        ),
        ErrorKind::MisplacedFlowCollectionEnd => (
            "this bracket closes nothing".to_owned(),
            "remove it, or open it before",
        ),
        ErrorKind::InvalidTrailingSingleQuotedScalar
        | ErrorKind::InvalidTrailingDoubleQuotedScalar => (
            "something follows a text in quotes".to_owned(),
            "put the whole value in quotes",
        ),
        ErrorKind::UnknownQuotedScalarEscape => (
            "YAML does not know this escape".to_owned(),
            "write `\\\\` for a backslash, or use single quotes",
        ),
        ErrorKind::RecursionLimitExceeded => (
            "this is nested too deep".to_owned(),
            "a fleet.yaml has a handful of levels",
        ),
        other => (format!("this is not YAML: {other}"), ""),
    };
    (message, hint.to_owned())
}

fn closing(open: char) -> char {
    if open == '[' { ']' } else { '}' }
}

fn line_start(chars: &[char], at: usize) -> usize {
    let before = &chars[..at.min(chars.len())];
    before.iter().rposition(|&c| c == '\n').map_or(0, |n| n + 1)
}

/// The first quote that begins a value between two offsets, the second included.
fn opening_quote(chars: &[char], from: usize, to: usize) -> Option<usize> {
    let mut in_comment = false;
    (from..chars.len().min(to + 1)).find(|&n| {
        let before = n.checked_sub(1).map_or('\n', |n| chars[n]);
        match chars[n] {
            '\n' => in_comment = false,
            '#' if before.is_whitespace() => in_comment = true,
            _ => {}
        }
        let begins = before.is_whitespace() || "[{,:".contains(before);
        !in_comment && begins && matches!(chars[n], '"' | '\'')
    })
}

/// The first escape that YAML does not know in the text in double quotes at `at`.
fn unknown_escape(chars: &[char], at: usize) -> usize {
    let mut n = at;
    while let Some(&[c, escaped]) = chars.get(n..n + 2) {
        match c {
            '\\' if !"0abt\tnvfer \"/\\N_LPxuU\n\r".contains(escaped) => return n,
            '\\' => n += 2,
            _ => n += 1,
        }
    }
    at
}

/// The end of the word at `at`; one character further where there is none.
fn word_end(chars: &[char], at: usize) -> usize {
    let ends = |c: &char| c.is_whitespace() || ":,[]{}#".contains(*c);
    let rest = chars.get(at..).unwrap_or_default();
    at + rest.iter().position(ends).unwrap_or(rest.len()).max(1)
}
