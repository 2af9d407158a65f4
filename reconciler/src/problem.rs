//! What is wrong with a text, where, and what to do about it.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// A place within one line of a text. Lines and columns count from 1; columns and length count
/// characters, a tab as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub line: usize,
    pub column: usize,
    pub length: usize,
}

/// One mistake in a text. Problems order by their place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    pub line: usize,
    pub column: usize,
    /// Characters that it spans, at least 1.
    pub length: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The line of a problem made fit for a terminal, with the place to underline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// Without tabs and control characters; `…` stands where a long line is cut.
    pub line: String,
    /// Terminal columns before the underlined place.
    pub indent: usize,
    /// Terminal columns to underline, at least 1.
    pub underline: usize,
}

/// Terminal columns of a line that are shown.
const SHOWN: usize = 100;
/// Of them, those kept before the underlined place when a line is cut.
const BEFORE: usize = 40;
const TAB: &str = "    ";

impl Problem {
    pub fn new(span: Span, message: impl Into<String>) -> Self {
        Self {
            line: span.line,
            column: span.column,
            length: span.length.max(1),
            message: one_line(&message.into()),
            hint: None,
        }
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(one_line(&hint.into()));
        self
    }

    pub fn span(&self) -> Span {
        Span {
            line: self.line,
            column: self.column,
            length: self.length,
        }
    }

    /// The line in `text` that the problem stands in.
    pub fn snippet(&self, text: &str) -> Snippet {
        let line = lines(text).nth(self.line - 1).unwrap_or_default();
        // One cell a character: what is shown for it, and its width.
        let cells: Vec<(String, usize)> = line.chars().map(cell).collect();
        let width = |cells: &[(String, usize)]| cells.iter().map(|(_, width)| width).sum::<usize>();
        let start = (self.column - 1).min(cells.len());
        let end = (start + self.length).min(cells.len());

        let is_long = width(&cells) > SHOWN;
        let mut from = 0;
        while is_long && from < start && width(&cells[from..start]) > BEFORE {
            from += 1;
        }
        let mut to = from;
        let mut shown = 0;
        while to < cells.len() && shown + cells[to].1 <= SHOWN {
            shown += cells[to].1;
            to += 1;
        }

        let mark = |is_cut: bool| if is_cut { "…" } else { "" };
        let visible: String = cells[from..to].iter().map(|(cell, _)| &**cell).collect();
        let visible = format!("{}{visible}{}", mark(from > 0), mark(to < cells.len()));
        Snippet {
            line: visible.trim_end().to_owned(),
            indent: width(&cells[from..start]) + usize::from(from > 0),
            underline: width(&cells[start..end.min(to).max(start)]).max(1),
        }
    }

    /// The problem as plain text in the manner of rustc, ending with a line end.
    pub fn render(&self, file: &str, text: &str) -> String {
        let snippet = self.snippet(text);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let mut out = format!(
            "error: {}\n{margin}--> {file}:{}:{}\n",
            self.message, self.line, self.column
        );
        let line = format!("{number} | {}", snippet.line);
        let indent = " ".repeat(snippet.indent);
        let carets = "^".repeat(snippet.underline);
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "{margin} |\n{}\n{margin} | {indent}{carets}\n",
            line.trim_end()
        );
        if let Some(hint) = &self.hint {
            let _ = writeln!(out, "help: {hint}");
        }
        out
    }
}

/// What a file holds must not reach a terminal as it is: control characters escaped, and cut.
fn one_line(text: &str) -> String {
    const SHOWN: usize = 400;
    let mut line = String::new();
    for c in text.chars().take(SHOWN) {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    if text.chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}

/// The lines of a text, without line ends and byte order mark. An empty text has one empty line.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line))
}

fn cell(c: char) -> (String, usize) {
    match c {
        '\t' => (TAB.to_owned(), TAB.len()),
        c if c.is_control() => ("\u{fffd}".to_owned(), 1),
        c => (c.to_string(), c.width().unwrap_or(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(column: usize, length: usize) -> Problem {
        let span = Span {
            line: 2,
            column,
            length,
        };
        Problem::new(span, "wrong").with_hint("right")
    }

    #[test]
    fn a_problem_shows_its_line_and_underlines_its_place() {
        let rendered = problem(3, 4).render("fleet.yaml", "a:\n  word: 1\n");
        let expected =
            "error: wrong\n --> fleet.yaml:2:3\n  |\n2 |   word: 1\n  |   ^^^^\nhelp: right\n";
        assert_eq!(rendered, expected);
    }

    #[test]
    fn tabs_line_ends_and_wide_characters_keep_the_carets_below_their_place() {
        let snippet = problem(4, 2).snippet("a\r\n\t日\u{1b}xy\r\n");
        assert_eq!(snippet.line, "    日\u{fffd}xy");
        assert_eq!((snippet.indent, snippet.underline), (7, 2));
    }

    #[test]
    fn a_message_stays_on_one_line_of_bounded_length() {
        let problem = problem(1, 1).with_hint(format!("a\n\u{1b}{}", "b".repeat(1000)));
        let hint = problem.hint.unwrap_or_default();
        assert!(hint.starts_with("a\\n\\u{1b}bbb") && hint.len() < 500);
    }

    #[test]
    fn a_long_line_is_cut_on_both_sides_of_its_place() {
        let text = format!("\n{}WRONG{}", "a".repeat(300), "b".repeat(300));
        let snippet = problem(301, 5).snippet(&text);
        assert!(snippet.line.starts_with("…aaa") && snippet.line.ends_with("bbb…"));
        let underlined: String = snippet.line.chars().skip(snippet.indent).take(5).collect();
        assert_eq!((&*underlined, snippet.underline), ("WRONG", 5));
    }
}
