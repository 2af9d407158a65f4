//! What a text may look like, and lines that keep within it.

use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// What the place that a text goes to can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    pub colour: bool,
    /// Columns of a line; none where nothing bounds it.
    pub width: Option<usize>,
    /// More than ASCII.
    pub unicode: bool,
}

impl Style {
    /// The line, without its end, broken where it is too long; what goes on stands `indent` columns in.
    pub fn lines(self, line: &str, indent: usize) -> String {
        let Some(width) = self.width else {
            return format!("{line}\n");
        };
        let indent = " ".repeat(indent.min(width / 2));
        let options = Options::new(width)
            .subsequent_indent(&indent)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .wrap_algorithm(WrapAlgorithm::FirstFit);
        let lines = textwrap::wrap(line, options);
        lines.join("\n") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::{Paint, paint};

    #[test]
    fn a_long_line_is_broken_between_words_and_colours_take_no_room() {
        let style = |width| Style {
            colour: true,
            width,
            unicode: true,
        };
        let line = format!("    + {} one two", paint(true, Paint::Good, "worker"));
        assert_eq!(style(None).lines(&line, 6), format!("{line}\n"));
        assert_eq!(style(Some(20)).lines(&line, 6), format!("{line}\n"));
        let broken = style(Some(19)).lines(&line, 6);
        assert_eq!(broken, line.replace(" two", "\n      two\n"));
        // A word without spaces is broken too.
        let path = "x".repeat(100);
        let lines = style(Some(40)).lines(&path, 6);
        assert!(lines.lines().all(|line| line.len() <= 40), "{lines}");
    }
}
