//! The results as text: aligned for a terminal, or as Markdown.

use super::row::{Floor, Row};

const HEAD: [&str; 8] = [
    "what", "ours", "peer", "limit", "unit", "ratio", "floor", "",
];

/// Lines for a terminal, headings between them.
pub fn plain(rows: &[Row]) -> String {
    let cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    let mut widths = HEAD.map(str::len);
    for cells in &cells {
        for (width, cell) in widths.iter_mut().zip(cells) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut heading = "";
    for (row, cells) in rows.iter().zip(&cells) {
        if row.heading != heading {
            if !text.is_empty() {
                text.push('\n');
            }
            heading = &row.heading;
            text.push_str(&format!("{heading}\n"));
            text.push_str(&line(&HEAD.map(str::to_owned), &widths));
        }
        text.push_str(&line(cells, &widths));
    }
    text
}

/// The same as one Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let mut text =
        "| | what | ours | peer | limit | unit | ratio | floor | |\n|---|---|--:|--:|--:|---|--:|---|---|\n".to_owned();
    for row in rows {
        let cells = cells(row).join(" | ");
        text.push_str(&format!("| {} | {cells} |\n", row.heading));
    }
    text
}

fn cells(row: &Row) -> [String; 8] {
    let value =
        |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| row.unit.show(value));
    [
        row.what.clone(),
        value(row.ours()),
        value(row.peer()),
        value(row.limit()),
        row.unit.name().to_owned(),
        row.ratio()
            .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
        row.floor.map(Floor::show).unwrap_or_default(),
        row.verdict().word().to_owned(),
    ]
}

/// The first cell, the unit, the floor and the verdict begin at their column, numbers end at theirs.
fn line(cells: &[String; 8], widths: &[usize; 8]) -> String {
    let mut text = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        if matches!(at, 1..=3 | 5) {
            text.push_str(&format!("  {cell:>width$}"));
        } else {
            text.push_str(&format!("  {cell:<width$}"));
        }
    }
    format!("{}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::row::tests::row;

    #[test]
    fn columns_are_aligned_and_what_is_missing_is_a_dash() {
        let second = Row {
            heading: "Qwen2.5-0.5B bf16".to_owned(),
            ..row(9.0, Some(20.0), Some(31.04))
        };
        let text = plain(&[row(49.96, None, None), second]);
        let expected = "\
Qwen2.5-0.5B q8_0
  what                ours  peer  limit  unit      ratio  floor
  decode, 1 sequence  50.0     -      -  tokens/s      -  >= 1.00

Qwen2.5-0.5B bf16
  what                ours  peer  limit  unit      ratio  floor
  decode, 1 sequence   9.0  20.0   31.0  tokens/s   0.45  >= 1.00  MISS
";
        assert_eq!(text, expected);
    }

    #[test]
    fn markdown_has_a_row_for_each_row() {
        let text = markdown(&[row(50.0, Some(40.0), None)]);
        assert!(text.ends_with(
            "| Qwen2.5-0.5B q8_0 | decode, 1 sequence | 50.0 | 40.0 | - | tokens/s | 1.25 | >= 1.00 | ok |\n"
        ), "{text}");
    }
}
