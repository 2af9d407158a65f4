//! Aligned columns.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::Style;
use crate::terminal::{Paint, paint};

/// Between columns.
const GAP: usize = 2;
/// A column is not cut to less.
const LEAST: usize = 4;

/// Rows of cells under a header; columns are as wide as their widest cell.
#[derive(Debug)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
    spare: &'static [&'static str],
    optional: &'static [&'static str],
}

/// A text and its colour.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    text: String,
    paint: Option<Paint>,
}

impl Cell {
    pub fn painted(text: impl Into<String>, paint: Paint) -> Self {
        Self {
            text: text.into(),
            paint: Some(paint),
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, paint: None }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl Table {
    pub fn new(header: &[&'static str]) -> Self {
        Self {
            header: header.to_vec(),
            rows: Vec::new(),
            spare: &[],
            optional: &[],
        }
    }

    /// Names the columns that are left out where they say nothing.
    #[must_use]
    pub fn optional(mut self, columns: &'static [&'static str]) -> Self {
        self.optional = columns;
        self
    }

    /// Names the columns that are left out where all are too wide, the first of them first.
    #[must_use]
    pub fn spare(mut self, columns: &'static [&'static str]) -> Self {
        self.spare = columns;
        self
    }

    pub fn row<C: Into<Cell>>(&mut self, cells: Vec<C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The text, the header dimmed where colour is on. No line is wider than the style allows: columns are left out,
    /// then the widest are cut, then more are left out from the right.
    pub fn text(&self, style: Style) -> String {
        let columns = self.columns(style.width);
        let mut out = String::new();
        let header = columns.iter().map(|(column, width)| {
            let name = cut(self.header[*column], *width);
            format!("{name:width$}")
        });
        let header: Vec<String> = header.collect();
        let line = header.join("  ");
        out += &paint(style.colour, Paint::Dim, line.trim_end());
        out.push('\n');
        for row in &self.rows {
            let mut line = String::new();
            // What stands between the last text and the next.
            let mut gap = 0;
            for (column, width) in &columns {
                let cell = row.get(*column).cloned().unwrap_or_default();
                let text = cut(&cell.text, *width);
                let room = width - text.width() + GAP;
                if text.is_empty() {
                    gap += room;
                    continue;
                }
                line += &" ".repeat(std::mem::replace(&mut gap, room));
                line += &match cell.paint {
                    Some(colour) => paint(style.colour, colour, &text),
                    None => text,
                };
            }
            out += &line;
            out.push('\n');
        }
        out
    }

    /// The columns that are shown, with their widths.
    fn columns(&self, most: Option<usize>) -> Vec<(usize, usize)> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.text.width()).max().unwrap_or(0);
            (column, widest.max(self.header[column].width()))
        };
        let says = |column: &usize| {
            let mut cells = self.rows.iter().filter_map(|row| row.get(*column));
            !self.optional.contains(&self.header[*column])
                || cells.any(|cell| !cell.text.is_empty())
        };
        let all = (0..self.header.len()).filter(says);
        let mut columns: Vec<(usize, usize)> = all.map(width).collect();
        let Some(most) = most else {
            return columns;
        };
        let total = |columns: &[(usize, usize)]| {
            let widths: usize = columns.iter().map(|(_, width)| width).sum();
            widths + GAP * columns.len().saturating_sub(1)
        };
        for spare in self.spare {
            if total(&columns) <= most {
                break;
            }
            columns.retain(|(column, _)| self.header[*column] != *spare);
        }
        for count in (1..=columns.len()).rev() {
            let mut columns = columns[..count].to_vec();
            let least = if count == 1 { 0 } else { LEAST };
            while total(&columns) > most {
                match columns.iter_mut().max_by_key(|(_, width)| *width) {
                    Some((_, width)) if *width > least => *width -= 1,
                    _ => break,
                }
            }
            if total(&columns) <= most {
                return columns;
            }
        }
        Vec::new()
    }
}

/// The text in so many columns, with `…` where it was longer.
pub fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    if columns == 0 {
        return String::new();
    }
    let mut cut = String::new();
    for c in text.chars() {
        if cut.width() + c.width().unwrap_or(0) + 1 > columns {
            break;
        }
        cut.push(c);
    }
    cut + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(width: Option<usize>) -> String {
        let mut table = Table::new(&["NAME", "STATE", "NOTE", "PID"]).spare(&["NOTE", "PID"]);
        table.row(vec!["chat/here/cpu/0", "ready", "日本", "123"]);
        table.row(vec!["x", "", "none"]);
        table.text(Style {
            colour: false,
            width,
            unicode: true,
        })
    }

    #[test]
    fn columns_go_one_by_one_before_the_widest_is_cut() {
        let all = "\
NAME             STATE  NOTE  PID
chat/here/cpu/0  ready  日本  123
x                       none
";
        assert_eq!(shown(None), all);
        assert_eq!(shown(Some(33)), all);
        let fewer = "NAME             STATE  PID\nchat/here/cpu/0  ready  123\nx\n";
        assert_eq!(shown(Some(32)), fewer);
        let cut = "NAME        STATE\nchat/here…  ready\nx\n";
        assert_eq!(shown(Some(17)), cut);
        assert_eq!(shown(Some(10)), "NAME  STA…\ncha…  rea…\nx\n");
        assert_eq!(shown(Some(9)), "NAME\nchat/her…\nx\n");
        assert_eq!(shown(Some(1)), "…\n…\nx\n");
    }

    #[test]
    fn a_column_that_may_be_empty_is_left_out_where_it_is() {
        for (kept, expected) in [("", "A  C\nx  z\n"), ("y", "A  B  C\nx  y  z\n")] {
            let mut table = Table::new(&["A", "B", "C"]).optional(&["B"]);
            table.row(vec!["x", kept, "z"]);
            let style = Style {
                colour: false,
                width: None,
                unicode: true,
            };
            assert_eq!(table.text(style), expected);
        }
    }

    #[test]
    fn a_colour_is_around_the_text_alone() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec![Cell::painted("x", Paint::Bad), "y".into()]);
        let style = Style {
            colour: true,
            width: None,
            unicode: true,
        };
        let text = table.text(style);
        assert!(text.ends_with("\x1b[31mx\x1b[0m  y\n"), "{text:?}");
    }
}
