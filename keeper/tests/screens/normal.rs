//! A screen without what differs from machine to machine and from run to run.

/// The columns whose values do, by what they are called.
const VARYING: [&str; 11] = [
    "HOST",
    "FIRST TOKEN",
    "LOAD",
    "CANCEL",
    "MEMORY",
    "DISK FREE",
    "BUILD",
    "TOK/S",
    "UP",
    "LISTENS AT",
    "PID",
];

/// The screen, of which no line may be wider. What a machine is called and has decides which columns of its line there is room for in
/// 80 columns: these lines are left out there.
pub fn screen(text: &str, width: Option<usize>) -> String {
    let mut heads: Vec<&str> = Vec::new();
    let mut lines = Vec::new();
    for line in text.lines() {
        if let Some(width) = width {
            assert!(line.chars().count() <= width, "{line}");
        }
        let cells: Vec<&str> = cells(line);
        if cells.len() > 1 && cells.iter().all(|cell| is_head(cell)) {
            heads = cells;
        } else if line.is_empty() {
            heads.clear();
        }
        let is_machine = heads.contains(&"STATE") && heads.contains(&"DEVICE");
        if is_machine && width == Some(80) {
            continue;
        }
        lines.push(if heads.is_empty() {
            words(line)
        } else {
            row(&heads, line)
        });
    }
    lines.join("\n")
}

/// The cells of a table's line: two spaces stand between them.
fn cells(line: &str) -> Vec<&str> {
    let cells = line.split("  ").map(str::trim);
    cells.filter(|cell| !cell.is_empty()).collect()
}

fn is_head(cell: &str) -> bool {
    let mut letters = cell.chars();
    cell.len() > 1 && letters.all(|c| c.is_ascii_uppercase() || " /".contains(c))
}

/// Where a column varies with two spaces between the cells: it is as wide as what stands in it.
fn row(heads: &[&str], line: &str) -> String {
    if !heads.iter().any(|head| VARYING.contains(head)) {
        return line.to_owned();
    }
    let cells = cells(line);
    let shown = cells.iter().zip(heads).map(|(cell, head)| {
        if VARYING.contains(head) && cell != head {
            format!("<{}>", head.to_lowercase())
        } else {
            cell.replace(is_spinner, "<spinner>")
        }
    });
    shown.collect::<Vec<_>>().join("  ")
}

fn is_spinner(c: char) -> bool {
    ('\u{2800}'..='\u{28ff}').contains(&c)
}

/// A line of text, with builds, times, ports and what is free replaced.
fn words(line: &str) -> String {
    let line = between(line, "done: ready at 127.0.0.1:", " (", "<port>");
    let line = between(&line, "memory: 8.8 MB of ", " free", "<size>");
    let is_install = line.contains(" install ");
    let line = match line.rsplit_once(" (") {
        Some((before, time)) if time.ends_with("s)") && line.contains(" done") => {
            format!("{before} (<time>)")
        }
        _ => line,
    };
    let line = match line.split_once(" done: ") {
        Some((before, _)) if is_install => format!("{before} done: <size> (<time>)"),
        _ => line,
    };
    let is_build = |word: &str| word.len() == 12 && word.chars().all(|c| c.is_ascii_hexdigit());
    let words = line.split(' ');
    words
        .map(|word| if is_build(word) { "<build>" } else { word })
        .collect::<Vec<_>>()
        .join(" ")
}

/// What stands between the two texts, replaced.
fn between(line: &str, before: &str, after: &str, by: &str) -> String {
    let parts = line.split_once(before).and_then(|(start, rest)| {
        let (_, end) = rest.split_once(after)?;
        Some(format!("{start}{before}{by}{after}{end}"))
    });
    parts.unwrap_or_else(|| line.to_owned())
}
